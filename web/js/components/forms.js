// Fields, dialogs and buttons that wait for an answer.

import { h, replace, uid } from "../dom.js";
import { t } from "../i18n.js";
import { fieldName, fieldText } from "../api.js";
import { icon } from "./icons.js";

/** A labelled input. `node.input` is the input, `node.error(text)` shows or removes an error. */
export function field(label, { hint, ...props } = {}) {
  const id = uid("field");
  const input = h(props.type === "select" ? "select" : "input", {
    id,
    ...props,
    type: props.type === "select" ? null : (props.type ?? "text"),
  });
  const note = h("span.note", { id: `${id}-note` }, hint ?? "");
  input.setAttribute("aria-describedby", note.id);
  const node = h("div.field", h("label", { for: id }, label), input, note);
  node.input = input;
  node.error = (text) => {
    note.textContent = text || hint || "";
    note.classList.toggle("bad", Boolean(text));
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => node.error(""));
  return node;
}

export function select(label, options, props = {}) {
  const node = field(label, { type: "select", ...props });
  node.input.append(
    ...options.map(([value, text]) => h("option", { value, selected: value === props.value }, text)),
  );
  return node;
}

/** Runs a task while the button shows that it works. A second press does nothing meanwhile. */
export async function whileBusy(button, task) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    return await task();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** A form that shows errors of its answer: those of a field at the field, others in a line above the button. */
export function form(children, submitText, submit, { fields = {} } = {}) {
  const problem = h("p.problem", { role: "alert", hidden: true });
  const button = h("button.button.primary.wide", { type: "submit" }, submitText);
  const node = h(
    "form",
    {
      novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        whileBusy(button, async () => {
          problem.hidden = true;
          try {
            await submit();
          } catch (error) {
            if (error.name === "AbortError") return;
            if (!error.text) console.warn(error);
            const left = (error.errors ?? []).filter((one) => {
              const at = fields[fieldName(one)];
              at?.error(fieldText(one));
              return !at;
            });
            const named = fields[{ username_taken: "username", email_taken: "email" }[error.code]];
            if (named) named.error(error.text);
            else if (left.length || !error.errors?.length) show(problem, error.text ?? t("error.internal_error"));
            node.querySelector("[aria-invalid]")?.focus();
          }
        });
      },
    },
    children,
    problem,
    button,
  );
  node.button = button;
  node.fail = (text) => show(problem, text);
  return node;
}

function show(problem, text) {
  problem.textContent = text;
  problem.hidden = false;
}

/** A modal dialog. Resolves when it is closed. `fill(body, close, dialog)` puts in what it shows. */
export function openDialog(title, fill, { wide = false, className = "" } = {}) {
  return new Promise((resolve) => {
    const id = uid("dialog");
    let result;
    const heading = h("h2", { id, tabindex: -1 }, title);
    const body = h("div.dialog-body");
    const close = (value) => {
      result = value;
      dialog.close();
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": id, class: `${wide ? "wide" : ""} ${className}` },
      h(
        "div.dialog-head",
        heading,
        h(
          "button.icon-button",
          { type: "button", "aria-label": t("close"), onclick: () => close() },
          icon("close"),
        ),
      ),
      body,
    );
    dialog.setTitle = (text) => (heading.textContent = text);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) close();
    });
    document.body.append(dialog);
    fill(body, close, dialog);
    dialog.showModal();
    // The heading is read first. Somebody who is asked to log in begins to type at once.
    const input = [...body.querySelectorAll(".account-form input")].find((one) => !one.value);
    (input ?? heading).focus();
  });
}

/** Asks before a step that cannot be undone. */
export function confirmStep(title, text, action, { danger = false, input = null } = {}) {
  return openDialog(title, (body, close) => {
    const asked =
      input && field(input.label, { value: input.value ?? "", required: true, maxlength: input.maxlength ?? 500 });
    const node = form([h("p", text), asked], action, async () => {
      if (asked && !asked.input.value.trim()) return (asked.error(t("form.required")), asked.input.focus());
      close(asked ? asked.input.value.trim() : true);
    });
    if (danger) node.button.classList.add("danger");
    replace(body, node);
  });
}

/** A short message at the edge of the page that goes away by itself. */
export function toast(text, kind = "") {
  let place = document.querySelector(".toasts");
  if (!place) document.body.append((place = h("div.toasts", { role: "status" })));
  // Inside an open dialog, or the dialog would hide it.
  (document.querySelector("dialog[open]") ?? document.body).append(place);
  const node = h("div.toast", { class: kind }, text);
  place.append(node);
  setTimeout(() => node.remove(), 6000);
}
