// Small helpers over the DOM. Text goes in as text nodes, never as HTML.
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** A new element; properties by name, attributes where the name has a dash or is one of SVG's. */
export const h = (tag, props = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "data") Object.assign(made.dataset, value);
    else if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
};

/** A new SVG element. */
export const svg = (tag, attributes = {}, ...children) => {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

/** A copy of a <template>'s only child. */
export const stamp = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Show a text, and the command that helps where it is not in the text already. */
export const say = (parent, text, command, ...more) => {
  parent.replaceChildren(text, ...(command && !text.includes(command) ? [" ", h("code", { textContent: command })] : []), ...more);
  parent.hidden = false;
};

/** Show a table of pure/tables.js; `last(i)`: what stands in a cell of its own at the end of line i. */
export const fillTable = (table, { columns, rows }, caption, last) => {
  const right = (column) => (["number", "sigma"].includes(column.kind) ? "number" : "");
  const head = h("tr", {}, ...columns.map((c) => h("th", { scope: "col", textContent: c.title, className: right(c) })), last && h("th", { scope: "col" }, h("span", { className: "unseen", textContent: "what to do" })));
  const lines = rows.map((cells, i) =>
    h("tr", {}, ...cells.map((c) => {
      const shown = c.number && c.value !== null && c.value !== undefined ? h("data", { value: String(c.value), textContent: c.text }) : c.text;
      return h("td", { className: [c.number ? "number" : "", c.mark ?? ""].join(" ").trim() }, shown);
    }), last && h("td", {}, last(i))),
  ); // prettier-ignore
  table.replaceChildren(h("caption", { textContent: caption }), h("thead", {}, head), h("tbody", {}, ...lines));
};

/** Offer a file to save. */
export const save = (name, blob) => {
  const href = URL.createObjectURL(blob);
  const link = h("a", { href, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
};

/** Put children in only when they are others than those there: focus and hover stay. */
export const replaceIfOther = (parent, signature, make) => {
  if (parent.dataset.signature === signature) return;
  parent.dataset.signature = signature;
  parent.replaceChildren(...make());
};
