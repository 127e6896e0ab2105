// Light or dark, before anything is painted: as the address says, else as the system does.
// A plain script, so that it runs first; main.js sets it again when the choice changes.
{
  const asked = new URLSearchParams(location.search).get("theme");
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = ["light", "dark"].includes(asked) ? asked : system;
}
