// Acknowledging an alert: a word of a person about it, kept by the API; no number depends on it.
import { Trouble, tell } from "./ask.js";
import { byId, h, say } from "./dom.js";

/** The button of an alert's line; `done` is called when the word has been said. */
export function acknowledgeButton(row, key, done) {
  const { acknowledged } = row.acknowledgement;
  return h("button", {
    type: "button", className: "plain", textContent: acknowledged ? "Take back" : "Acknowledge", ariaLabel: `${acknowledged ? "take back" : "acknowledge"} the alert of ${key}`,
    onclick: () => open(row, key, done),
  }); // prettier-ignore
}

function open(row, key, done) {
  const dialog = byId("acknowledge");
  const part = (selector) => dialog.querySelector(selector);
  const { acknowledged, note, url } = row.acknowledgement;
  part("h3").textContent = acknowledged ? `Take back: ${key}` : `Acknowledge: ${key}`;
  part("input").value = acknowledged ? "" : note;
  part(".note").hidden = true;
  part(".cancel").onclick = () => dialog.close();
  part("form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await tell(url, acknowledged ? "DELETE" : "PUT", { note: part("input").value });
      dialog.close();
      done();
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      say(part(".note"), `${trouble.message}.`, trouble.next);
    }
  };
  dialog.showModal();
}
