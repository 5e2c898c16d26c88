// The language of the page: texts from two catalogues, and money, numbers and times by Intl.

export const LANGUAGES = { en: "English", ru: "Русский" };
const KEY = "lottery.language";

export let language = "en";
let texts = {};
let plural;

/** Which language the visitor wants: as chosen before, or as the browser says. */
function wanted() {
  const chosen = localStorage.getItem(KEY);
  if (chosen in LANGUAGES) return chosen;
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES) ?? "en";
}

export async function loadTexts(next = wanted()) {
  const answer = await fetch(new URL(`../texts/${next}.json`, import.meta.url));
  texts = await answer.json();
  language = next;
  plural = new Intl.PluralRules(next);
  formats.clear();
  document.documentElement.lang = next;
}

export async function chooseLanguage(next) {
  localStorage.setItem(KEY, next);
  await loadTexts(next);
}

/** The text of a key. `{name}` is replaced; a text with plural forms is chosen by `n`. */
export function t(key, values = {}) {
  let text = texts[key];
  if (text === undefined) return key;
  if (typeof text === "object") text = text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(value) : value;
  });
}

export const has = (key) => key in texts;

const formats = new Map();
function format(kind, options) {
  const key = kind.name + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new kind(language, options));
  return formats.get(key);
}

export const number = (value, options = {}) => format(Intl.NumberFormat, options).format(value);

/** Minor units as money: without the decimals where they are zero. */
export function money(minor, currency, options = {}) {
  const digits = minorDigits(currency);
  const value = minor / 10 ** digits;
  const fraction = Number.isInteger(value) ? 0 : digits;
  return format(Intl.NumberFormat, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: fraction,
    maximumFractionDigits: fraction,
    ...options,
  }).format(value);
}

export function minorDigits(currency) {
  return format(Intl.NumberFormat, { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
}

/** What somebody typed as money, in minor units; null if it is no amount above zero. */
export function parseMoney(text, currency) {
  const clean = text.replace(/[\s  ]/g, "").replace(",", ".");
  const digits = minorDigits(currency);
  const match = /^(\d{1,10})(?:\.(\d*))?$/.exec(clean);
  if (!match || (match[2] ?? "").length > digits) return null;
  const minor = Number(match[1]) * 10 ** digits + Number((match[2] ?? "").padEnd(digits, "0") || 0);
  return minor > 0 ? minor : null;
}

/** A moment, whose "PM" stays on the line of its time. */
const moment = (text, options) =>
  format(Intl.DateTimeFormat, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit", ...options })
    .format(new Date(text))
    .replace(/\s(?=[AP]M$)/, "\u00a0");
export const dateTime = (text) => moment(text, { year: "numeric" });
export const dayTime = (text) => moment(text, { weekday: "short" });
export const day = (text) =>
  format(Intl.DateTimeFormat, { day: "numeric", month: "long", year: "numeric" }).format(new Date(text));
export const time = (text) =>
  format(Intl.DateTimeFormat, { hour: "numeric", minute: "2-digit", second: "2-digit" }).format(new Date(text));

/** Basis points as a percentage. */
export const share = (points) => number(points / 10_000, { style: "percent", maximumFractionDigits: 2 });
export const odds = (n) => t("odds", { n: number(n, { maximumFractionDigits: n < 100 ? 1 : 0 }) });

/** The operator's names of lotteries, by id. */
const lotteryNames = new Map();
export const nameLotteries = (lotteries) => lotteries.forEach(({ id, name }) => lotteryNames.set(id, name));

/** The operator's name of a lottery. "5 of 36" is said in the language of the page. */
export function lotteryName(id) {
  const match = /^(\d+)(?: of |of)(\d+)$/.exec(lotteryNames.get(id) ?? id);
  return match ? t("lottery.name", { pick: match[1], of: match[2] }) : (lotteryNames.get(id) ?? id);
}
