// Registering and logging in: two forms of which one is shown. Used in the checkout, in the log-in dialog and on a page.

import { h, replace } from "../dom.js";
import { t } from "../i18n.js";
import { logIn, register } from "../session.js";
import { field, form, openDialog } from "./forms.js";

/** `done()` is called after somebody has logged in. `mode`: 'register' or 'login'. */
export function accountForm(done, { mode = "register", login = "", only = null } = {}) {
  const place = h("div.account-form");
  const show = (next) => {
    const other = next === "register" ? "login" : "register";
    replace(
      place,
      next === "register" ? registration(done) : loginForm(done, login),
      only
        ? null
        : h(
            "p.switch",
            t(`account.${next}.other`),
            " ",
            h("button.link", { type: "button", onclick: () => show(other) }, t(`account.${next}.switch`)),
          ),
    );
    place.querySelector("input:not([value])")?.focus();
  };
  show(mode);
  return place;
}

function registration(done) {
  const email = field(t("account.email"), {
    type: "email",
    autocomplete: "email",
    required: true,
    inputmode: "email",
  });
  const password = field(t("account.password"), {
    type: "password",
    autocomplete: "new-password",
    required: true,
    minlength: 8,
    maxlength: 128,
    hint: t("account.password.hint"),
  });
  const username = field(t("account.username"), {
    autocomplete: "username",
    required: true,
    maxlength: 32,
    hint: t("account.username.hint"),
    autocapitalize: "none",
    spellcheck: "false",
  });
  let own = false;
  username.input.addEventListener("input", () => (own = username.input.value !== ""));
  email.input.addEventListener("input", () => {
    if (!own)
      username.input.value = email.input.value
        .split("@")[0]
        .replace(/[^A-Za-z0-9_.-]/g, "")
        .slice(0, 32);
  });
  return form(
    [email, password, username],
    t("account.register"),
    async () => {
      const values = {
        email: email.input.value.trim(),
        password: password.input.value,
        username: username.input.value.trim(),
      };
      let fine = true;
      const refuse = (at, text) => {
        at.error(text);
        fine = false;
      };
      if (!/^[^\s@]+@[^\s@]+$/.test(values.email)) refuse(email, t("account.email.bad"));
      if ([...values.password].length < 8) refuse(password, t("account.password.short"));
      if (!/^[A-Za-z0-9_.-]{3,32}$/.test(values.username)) refuse(username, t("account.username.hint"));
      if (!fine) return place(email).querySelector("[aria-invalid]")?.focus();
      await register(values);
      await done();
    },
    { fields: { email, password, username } },
  );
}

const place = (node) => node.closest("form");

function loginForm(done, known) {
  const login = field(t("account.login"), {
    autocomplete: "username",
    required: true,
    value: known,
    autocapitalize: "none",
    spellcheck: "false",
  });
  const password = field(t("account.password"), {
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  return form(
    [login, password],
    t("account.log_in"),
    async () => {
      for (const one of [login, password])
        if (!one.input.value) return (one.error(t("form.required")), one.input.focus());
      await logIn(login.input.value.trim(), password.input.value);
      await done();
    },
    { fields: { login, password } },
  );
}

/** The log-in as a dialog. Resolves to whether somebody logged in. */
export async function logInDialog({
  title = t("account.log_in"),
  text = null,
  mode = "login",
  login = "",
  only = null,
} = {}) {
  return Boolean(
    await openDialog(title, (body, close) => {
      replace(
        body,
        text && h("p", text),
        accountForm(() => close(true), { mode, login, only }),
      );
    }),
  );
}

let asking = null;
/** After the end of a session: one dialog, however many calls wait for it. */
export const logInAgain = (login, only) =>
  (asking ??= logInDialog({ title: t("session.ended.title"), text: t("session.ended.text"), login, only }).finally(
    () => (asking = null),
  ));
