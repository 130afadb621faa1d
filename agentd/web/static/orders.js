// Orders of a person, each confirmed before it is sent.
import { order } from "/static/api.js";
import { h } from "/static/dom.js";

export function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  setTimeout(() => { if (said.textContent === text) said.textContent = ""; }, 8000);
}

export function ask(question, verb, path, words = {}, field = null) {
  const input = field ? h("input", { id: "word", maxlength: "200" }) : null;
  const dialog = h("dialog", { "aria-label": question },
    h("form", { method: "dialog" },
      h("p", {}, question),
      field ? h("p", {}, h("label", { for: "word" }, `${field.label} `), input) : null,
      h("div", { class: "bar" },
        h("button", { value: "yes", class: "danger" }, verb),
        h("button", { value: "no" }, "Leave it"))));
  dialog.addEventListener("close", async () => {
    dialog.remove();
    if (dialog.returnValue !== "yes") return;
    try {
      say(await order(path, field && input.value ? { ...words, [field.name]: input.value } : words));
    } catch (error) {
      say(error.message);
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

export function button(label, ...asked) {
  return h("button", { type: "button", onclick: () => ask(...asked) }, label);
}
