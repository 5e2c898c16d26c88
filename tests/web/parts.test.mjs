// Modules of the pages that need no page: money, times, the basket, and what is said of a draw. Runs in Node with nothing
// installed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../web/js/", import.meta.url);
const kept = new Map();
/** What a service would answer, by address. */
const answers = new Map();
const globals = {
  localStorage: { getItem: (key) => kept.get(key) ?? null, setItem: (key, text) => kept.set(key, text) },
  navigator: { onLine: true, languages: ["de", "ru-RU", "en"] },
  document: { documentElement: {} },
  addEventListener: () => null,
  fetch: async (address) => {
    const text = address instanceof URL ? readFileSync(address, "utf8") : JSON.stringify(answers.get(address));
    return { ok: true, status: 200, json: async () => JSON.parse(text) };
  },
};
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, writable: true });
kept.set("lottery.basket", '{"3":[{"quick_pick":true}]}');
const i18n = await import(new URL("i18n.js", root));
const basket = await import(new URL("basket.js", root));
const draws = await import(new URL("draws.js", root));

/** With plain spaces. */
const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ");
const money = (...amount) => plain(i18n.money(...amount));
const minutes = (n) => new Date(Date.UTC(2030, 4, 1, 12, n)).toISOString();

test("the language is the one that was chosen, or else the first of the browser's that there is", async () => {
  await i18n.loadTexts();
  assert.deepEqual([i18n.language, globalThis.document.documentElement.lang], ["ru", "ru"]);
  await i18n.chooseLanguage("en");
  await i18n.loadTexts();
  assert.equal(i18n.language, "en");
  kept.set("lottery.language", "xx");
  await i18n.loadTexts();
  assert.equal(i18n.language, "ru", "a language that there is not");
});

test("money is minor units of its currency, with decimals where there are some", async () => {
  await i18n.loadTexts("en");
  assert.deepEqual(
    [100, 150, 5, 0, 123_456_789].map((minor) => money(minor, "RUB")),
    ["₽1", "₽1.50", "₽0.05", "₽0", "₽1,234,567.89"],
  );
  assert.deepEqual([money(150, "JPY"), money(1500, "KWD"), money(1000, "KWD")], ["¥150", "KWD 1.500", "KWD 1"]);
  assert.deepEqual(
    [money(100, "RUB", { signDisplay: "exceptZero" }), money(-100, "RUB", { signDisplay: "exceptZero" })],
    ["+₽1", "-₽1"],
  );
  await i18n.loadTexts("ru");
  assert.equal(money(100_050, "RUB"), "1 000,50 ₽");
  assert.deepEqual([i18n.share(5000), i18n.share(1234), i18n.odds(8.39), i18n.odds(376_992)].map(plain), [
    "50 %",
    "12,34 %",
    "1 к 8,4",
    "1 к 376 992",
  ]);
});

test("what somebody types is an amount, or it is none", async () => {
  for (const [text, minor] of [
    ["150", 15_000],
    ["150,5", 15_050],
    ["150.50", 15_050],
    [" 1 500 ", 150_000],
    ["1\u00a0500,05", 150_005],
    ["0.01", 1],
    ["7.", 700],
    ["9999999999", 999_999_999_900],
  ])
    assert.equal(i18n.parseMoney(text, "RUB"), minor, text);
  for (const text of ["", "0", "0,00", "-5", "1.234", "1,2,3", "1e3", "₽5", "12345678901", "abc", ".5"])
    assert.equal(i18n.parseMoney(text, "RUB"), null, text);
  assert.deepEqual(
    [i18n.parseMoney("150", "JPY"), i18n.parseMoney("1.5", "JPY"), i18n.parseMoney("1.005", "KWD")],
    [150, null, 1005],
  );
});

test("plural forms, names and values that are missing", async () => {
  await i18n.loadTexts("ru");
  assert.deepEqual(
    [1, 2, 5, 11, 21, 1000].map((n) => plain(i18n.t("lines", { n }))),
    ["1 билет", "2 билета", "5 билетов", "11 билетов", "21 билет", "1 000 билетов"],
  );
  await i18n.loadTexts("en");
  assert.deepEqual(
    [1, 2].map((n) => i18n.t("lines", { n })),
    ["1 ticket", "2 tickets"],
  );
  assert.deepEqual([i18n.t("nothing.of.this"), i18n.t("no")], ["nothing.of.this", "No. {n}"]);
  i18n.nameLotteries([
    { id: "mini", name: "2 of 5" },
    { id: "gold", name: "Gold" },
  ]);
  assert.deepEqual(["mini", "gold", "5of36", "other"].map(i18n.lotteryName), [
    "2 of 5",
    "Gold",
    "5 of 36",
    "other",
  ]);
});

test("a basket for each draw, as an order wants it, with no more than an order takes", () => {
  assert.deepEqual(basket.linesOf(3), [{ quick_pick: true }], "it outlives a reload");
  const quick = (n) => Array.from({ length: n }, () => ({ quick_pick: true }));
  assert.equal(basket.addLines(7, quick(98)), 98);
  assert.equal(
    basket.addLines(7, [{ numbers: [1, 2] }, { pool_ticket_id: "a", numbers: [3, 4] }, ...quick(3)]),
    2,
  );
  assert.equal(basket.addLines(7, quick(1)), 0);
  assert.equal(basket.linesOf(7).length, basket.MOST_LINES);
  basket.removeLine(7, 0);
  const order = basket.orderLines(basket.linesOf(7)).slice(-2);
  assert.deepEqual(
    order,
    [{ numbers: [1, 2] }, { pool_ticket_id: "a" }],
    "the service knows the numbers of its tickets",
  );
  assert.deepEqual([basket.linesOf(7).length, basket.linesOf(3).length], [99, 1]);
  basket.setLines(7, []);
  assert.equal(kept.get("lottery.basket"), '{"3":[{"quick_pick":true}]}');
});

test("a draw says when it was drawn, or for when it is planned, and which prize it has", async () => {
  await i18n.loadTexts("en");
  const [planned, early] = [minutes(30), minutes(10)].map((at) => [at, i18n.dayTime(at)]);
  const text = (drawn) => draws.drawTime({ draw_at: planned[0], drawn_at: drawn });
  assert.equal(text(null), `planned for ${planned[1]}`);
  assert.equal(text(planned[0]), planned[1], "at its time");
  assert.equal(text(early[0]), `${early[1]}, early by hand`);
  assert.doesNotMatch(planned[1], / [AP]M$/, "the time stays on one line");
  const [fixed, shared] = [
    { kind: "fixed", amount: 500 },
    { kind: "shared", minimum: 700 },
  ];
  assert.deepEqual(draws.headlinePrize([fixed], 501), { kind: "fund", amount: 501 });
  assert.deepEqual(draws.headlinePrize([fixed], 500), { kind: "least", amount: 500 });
  assert.deepEqual(draws.headlinePrize([shared, fixed], 600), { kind: "least", amount: 700 });
  assert.deepEqual(draws.headlinePrize([{ kind: "shared", minimum: null }], 1), { kind: "fund", amount: 1 });
  const sale = (id, close) => ({ id, sales_close_at: minutes(close) });
  answers.set("/api/v1/draws?status=open&limit=50", { items: [sale(4, 30), sale(3, 10), sale(2, 30)] });
  assert.deepEqual(
    (await draws.drawsOnSale()).map(({ id }) => id),
    [3, 2, 4],
    "the soonest first",
  );
});
