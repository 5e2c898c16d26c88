// The two catalogues of texts have the same keys, placeholders and plural forms, no text is missing that a module asks for,
// and every error code of the API has its sentence.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const read = (path) => readFileSync(new URL(path, root), "utf8");
const english = JSON.parse(read("web/texts/en.json"));
const russian = JSON.parse(read("web/texts/ru.json"));
const modules = readdirSync(new URL("web/js/", root), { recursive: true })
  .filter((name) => name.endsWith(".js"))
  .map((name) => [name, read(`web/js/${name}`)]);

const forms = (text) => (typeof text === "string" ? [text] : Object.values(text));
const placeholders = (text) =>
  [...new Set(forms(text).flatMap((form) => form.match(/\{\w+\}/g) ?? []))].sort().join();

test("both catalogues say the same", () => {
  assert.deepEqual(Object.keys(russian).sort(), Object.keys(english).sort());
  for (const [key, text] of Object.entries(english)) {
    assert.equal(placeholders(russian[key]), placeholders(text), `placeholders of ${key}`);
    assert.equal(typeof russian[key], typeof text, `plural forms of ${key}`);
    for (const form of [...forms(text), ...forms(russian[key])]) assert.ok(form.trim(), `an empty text of ${key}`);
    assert.doesNotMatch(forms(text).join(), /[а-яё]/i, `Russian in the English ${key}`);
  }
});

test("plural forms are those that the languages have", () => {
  for (const [catalogue, language] of [
    [english, "en"],
    [russian, "ru"],
  ]) {
    const wanted = new Intl.PluralRules(language).resolvedOptions().pluralCategories.toSorted?.() ?? [];
    for (const [key, text] of Object.entries(catalogue)) {
      if (typeof text === "object") assert.deepEqual(Object.keys(text).sort(), wanted, `forms of ${key}`);
    }
  }
});

test("no module asks for a text that is missing", () => {
  for (const [name, source] of modules) {
    for (const [, key] of source.matchAll(/\bt\(\s*"([^"]+)"/g)) assert.ok(key in english, `${name}: ${key}`);
    for (const [, prefix] of source.matchAll(/\bt\(\s*`([^`$]+)\$\{/g)) {
      assert.ok(
        Object.keys(english).some((key) => key.startsWith(prefix)),
        `${name}: ${prefix}…`,
      );
    }
  }
});

test("no text is left over", () => {
  const sources = modules.map(([, source]) => source).join("\n");
  const exact = new Set([...sources.matchAll(/"([\w.]+)"/g)].map(([, key]) => key));
  const prefixes = [...sources.matchAll(/[`"]([a-z_]+(?:\.[a-z_]+)*\.)\$\{/g)].map(([, prefix]) => prefix);
  const unused = Object.keys(english).filter(
    (key) =>
      !exact.has(key) &&
      !prefixes.some((prefix) => key.startsWith(prefix)) &&
      !/^account\.(register|login)\./.test(key),
  );
  assert.deepEqual(unused, []);
});

test("every error code has its sentence", () => {
  const codes = [...read("src/http/codes.rs").matchAll(/^    [A-Z]\w+ "([a-z_]+)" [A-Z_]+ [A-Z]\w+ \{$/gm)].map(
    ([, code]) => code,
  );
  assert.ok(codes.length > 30, "the table of codes is found");
  for (const code of codes) assert.ok(`error.${code}` in english, `web/texts: a sentence for error.${code}`);
});

test("every refusal of the verifier has its sentence", () => {
  for (const [name, source] of modules.filter(([name]) => name.startsWith("verify/"))) {
    const codes = [...source.matchAll(/\b(?:require\([^;]*?,\s*|new Refused\()"([a-z_0-9]+)"/g)].map(
      ([, code]) => code,
    );
    for (const code of codes) assert.ok(`refused.${code}` in english, `${name}: refused.${code}`);
  }
});

test("what the service reports has its words", () => {
  const list = (path, type) =>
    [...read(path).matchAll(new RegExp(`${type}::\\w+ => "([a-z_.]+)"`, "g"))].map(([, name]) => name);
  for (const [prefix, path, type] of [
    ["status.", "src/domain/lottery.rs", "DrawStatus"],
    ["action.", "src/domain/audit.rs", "Action"],
    ["payment.status.", "src/domain/payment.rs", "PaymentStatus"],
    ["account.kind.", "src/db/read/finance.rs", "AccountKind"],
    ["charges.", "src/db/read/charges.rs", "ChargeFilter"],
    ["void.", "src/domain/lottery.rs", "VoidReason"],
  ]) {
    const names = list(path, type);
    assert.ok(names.length > 1, `${type} is found in ${path}`);
    for (const name of names) assert.ok(prefix + name in english, `web/texts: ${prefix}${name} for ${type}`);
  }
});

test("what a field must be is said in each language", () => {
  const files = ["auth", "admin", "wallet", "payments", "charges", "export", "orders"].map((name) => read(`src/http/${name}.rs`));
  const fields = [...files, read("src/domain/draw/times.rs")].flatMap((source) =>
    [
      /Problem::field\("(\w+)"/g,
      /check\(&mut errors, "(\w+)"/g,
      /check\([^;]*?, "(\w+)", /g,
      /TimesError::\w+(?: \{ \.\. \})? => "(\w+)"/g,
    ].flatMap((pattern) => [...source.matchAll(pattern)].map(([, field]) => field)),
  );
  assert.ok(new Set(fields).size > 12, `the fields are found: ${fields}`);
  for (const field of fields) assert.ok(`field.${field}` in english, `web/texts: field.${field}`);
});

test("every reason for which a payment fails has its sentence", () => {
  const [, list] = /FAILURE_CODES[^=]*= \[([^\]]*)\]/.exec(read("src/domain/payment.rs"));
  const codes = [...list.matchAll(/"(\w+)"/g)].map(([, code]) => code);
  assert.ok(codes.length > 20, "the list of codes is found");
  for (const code of codes) assert.ok(`failure.${code}` in english, `web/texts: failure.${code}`);
});
