// Takes the pictures of docs/pictures: every page, in both languages, on a phone and on a desktop, some in the dark. Plays
// everything that they show against a service of its own. `.ci/web pictures` runs it.

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DESKTOP, World, until } from "./world.mjs";

const FOLDER = process.env.PICTURES ?? "docs/pictures";
const QUALITY = 82;
const PHONE = { width: 390, height: 844, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true };
const SCREENS = { phone: PHONE, desktop: { ...DESKTOP, height: 860 } };
const NAMES = ["boris", "carla", "dmitri", "elena", "felix", "galina", "hugo", "irina", "jonas", "katya", "leo", "marta"];
/** A new player for each series of pictures. */
const HEROES = ["anna", "oliver", "polina", "maxim", "sofia", "thomas"];
const LIVE_SECONDS = 15;
/** So many numbers are drawn on the pictures of a draw that is under way. */
const SHOWN_LIVE = 3;

const seconds = (n) => new Date(Date.now() + n * 1000).toISOString();
const quick = (n) => Array(n).fill({ quick_pick: true });
const buy = async (world, name, draw, tickets) =>
  world.api("POST", `/draws/${draw}/tickets`, { tickets, payment: "wallet" }, await world.tokenOf(name));

/** A draw that is on sale and whose numbers are drawn at its time. */
async function sale(world, lottery, close, pool = 0) {
  const draw = await world.api("POST", "/admin/draws", { lottery, sales_close_at: close });
  if (pool) await world.api("POST", `/admin/draws/${draw.id}/pool`, { count: pool });
  return (await world.api("POST", `/admin/draws/${draw.id}/open`)).id;
}

const over = (world, draw) =>
  until("the draw is over", async () => (await world.api("GET", `/draws/${draw}`)).status === "completed");

/** What the pages show: players, draws that are over, on sale and to come, withdrawals, charges. */
async function play(world) {
  for (const name of NAMES) await world.player(name, 20_000_000);
  for (const [lottery, counts] of [["5of36", [14, 22, 9, 31]], ["6of45", [12, 17]]]) {
    for (const count of counts) {
      const draw = await sale(world, lottery, seconds(3));
      const buyers = NAMES.slice(0, 1 + (count % NAMES.length));
      await Promise.all(buyers.map((name) => buy(world, name, draw, quick(count))));
      await over(world, draw);
    }
  }
  const cancelled = await sale(world, "5of36", seconds(86_400));
  await buy(world, "elena", cancelled, quick(3));
  await world.api("POST", `/admin/draws/${cancelled}/cancel`, { reason: "The hall was flooded." });
  const voided = await sale(world, "6of45", seconds(86_400));
  await buy(world, "felix", voided, quick(5));
  await world.api("POST", `/admin/draws/${voided}/close`);
  await world.api("POST", `/admin/draws/${voided}/cancel`, { reason: "The terms of this draw were announced wrongly." });
  const close = new Date(Date.now() + 6 * 3_600_000).setMinutes(0, 0, 0);
  const [first, second] = await Promise.all([
    sale(world, "5of36", new Date(close).toISOString(), 1000),
    sale(world, "6of45", new Date(close + 3_600_000).toISOString(), 1000),
  ]);
  await sale(world, "5of36", new Date(close + 86_400_000).toISOString(), 500);
  await world.api("POST", "/admin/draws", { lottery: "6of45", sales_close_at: new Date(close + 2 * 86_400_000).toISOString() });
  for (const [name, amount] of [["boris", 50_000], ["carla", 120_000], ["galina", 75_000], ["jonas", 240_000]])
    await world.api("POST", "/wallet/withdrawals", { amount }, await world.tokenOf(name));
  for (const [name, token] of [["hugo", "tok_visa"], ["irina", "tok_declined"], ["katya", "tok_async"], ["leo", "tok_insufficient"]])
    await world.api("POST", "/wallet/deposits", { amount: 150_000, token }, await world.tokenOf(name));
  return { first, second, voided };
}

/** Sells a few tickets again and again, so that the dashboard has something to plot. Answers what ends it. */
function sell(world, draws) {
  let goesOn = true;
  const run = async () => {
    for (let turn = 0; goesOn; turn++) {
      const name = NAMES[turn % NAMES.length];
      const draw = draws[turn % 3 ? 0 : 1];
      await buy(world, name, draw, quick(1 + ((turn * 7) % 5)));
      await new Promise((done) => setTimeout(done, 60 + ((turn * 37) % 90)));
    }
  };
  const running = run().catch((error) => goesOn && console.error(error));
  return async () => {
    goesOn = false;
    await running;
  };
}

class Series {
  constructor(world, language, screen, dark) {
    Object.assign(this, { world, language, screen, dark });
    this.options = { viewport: SCREENS[screen], language, dark };
    this.end = `${language}-${screen}${dark ? "-dark" : ""}`;
  }

  async take(tab, name) {
    await tab.settled();
    await tab.page.screenshot({ path: `${FOLDER}/${name}-${this.end}.webp`, type: "webp", quality: QUALITY });
    console.log(`${name}-${this.end}`);
  }

  async go(tab, hash, name) {
    await tab.page.evaluate((hash) => (location.hash = hash), hash);
    await tab.page.evaluate(() => scrollTo(0, 0));
    // The page that was left is still there for a moment.
    await tab.page.waitForFunction((hash) => location.hash === hash && document.querySelector("#main h1"), {}, hash);
    await new Promise((done) => setTimeout(done, 300));
    await this.take(tab, name);
  }

  /** Presses the first button that fits and can be seen. */
  async press(tab, selector) {
    await tab.page.waitForFunction((s) => [...document.querySelectorAll(s)].some((it) => it.checkVisibility()), {}, selector);
    await tab.page.evaluate((s) => [...document.querySelectorAll(s)].find((it) => it.checkVisibility()).click(), selector);
  }

  async player(name, { first }) {
    const { world } = this;
    const tab = await world.visit(`/#/play/${first}`, this.options);
    for (const n of [4, 11, 19, 25, 31]) await this.press(tab, `number-grid .pick:nth-child(${n})`);
    await this.press(tab, ".pick-foot .button");
    await this.press(tab, '[role="tab"][data-key="quick"]');
    await this.press(tab, ".quick-choice:nth-child(1)");
    await this.press(tab, '[role="tab"][data-key="choose"]');
    for (const n of [7, 13, 29]) await this.press(tab, `number-grid .pick:nth-child(${n})`);
    await tab.page.evaluate(() => (document.activeElement.blur(), scrollTo(0, 0)));
    await this.take(tab, "play");
    if (!this.dark) {
      await this.press(tab, this.screen === "phone" ? ".pay-bar .button" : ".basket-foot .button");
      await tab.page.waitForSelector("dialog .account-form input");
      await this.take(tab, "checkout-account");
      for (const [at, text] of [["email", `${name}@example.com`], ["new-password", "battery staple of ann"]])
        await tab.page.type(`dialog input[autocomplete="${at}"]`, text);
      await this.press(tab, 'dialog [type="submit"]');
      await tab.page.waitForSelector("dialog .bank-card");
      await this.take(tab, "checkout-money");
      await this.press(tab, "dialog .bank-card.first");
      await tab.page.waitForFunction(() => !document.querySelector("dialog .bank-card"));
      await this.press(tab, 'dialog [type="submit"]');
      await tab.page.waitForSelector("dialog .bought");
      await this.take(tab, "checkout-bought");
      await tab.closeDialog();
      await world.api("POST", "/wallet/deposits", { amount: 300_000, token: "tok_visa" }, await world.tokenOf(name));
    } else {
      await world.player(name, 500_000);
      await tab.withSession(name);
    }
    await this.live(tab, name);
    await this.go(tab, "#/tickets", "tickets");
    await this.press(tab, ".group .ticket-actions .button");
    await tab.page.waitForSelector("dialog[open] .sums");
    await this.take(tab, "receipt");
    await tab.closeDialog();
    if (!this.dark) {
      await this.go(tab, "#/results", "results");
      await world.api("POST", "/wallet/withdrawals", { amount: 20_000 }, await world.tokenOf(name));
      await this.go(tab, "#/wallet", "wallet");
      await this.go(tab, "#/account", "account");
    }
    await tab.close();
  }

  /** A draw while its numbers appear, and when it is over. */
  async live(tab, name) {
    const { world } = this;
    const draw = await sale(world, "5of36", seconds(LIVE_SECONDS));
    for (const other of NAMES.slice(0, 5)) await buy(world, other, draw, quick(4));
    await buy(world, name, draw, quick(20));
    const motion = (value) =>
      tab.page.emulateMediaFeatures([
        { name: "prefers-color-scheme", value: this.dark ? "dark" : "light" },
        { name: "prefers-reduced-motion", value },
      ]);
    await motion("no-preference");
    await tab.page.evaluate((draw) => (location.hash = `#/draw/${draw}`), draw);
    await tab.page.waitForFunction((n) => document.querySelectorAll(".stage .ball.drawn").length === n, {}, SHOWN_LIVE);
    await new Promise((done) => setTimeout(done, 650));
    const file = `${FOLDER}/draw-live-${this.end}.webp`;
    await tab.page.screenshot({ path: file, type: "webp", quality: QUALITY });
    console.log(`draw-live-${this.end}`);
    await motion("reduce");
    await tab.page.waitForSelector(".has-winners, .table tfoot");
    if (!this.dark) await this.take(tab, "draw");
    const verifier = await world.visit(`/verify/${draw}`, this.options);
    await verifier.page.waitForSelector(".verdict.ok");
    await this.take(verifier, "verify");
    await verifier.close();
  }

  async voided({ voided }) {
    const tab = await this.world.visit(`/verify/${voided}`, this.options);
    await tab.page.waitForSelector(".verdict.bad");
    await this.take(tab, "verify-cancelled");
    await tab.close();
  }

  async admin({ first }) {
    const tab = await this.world.visit("/admin", this.options);
    await tab.withSession("boss");
    if (!this.dark) {
      const user = (await this.world.api("GET", "/admin/users?query=carla")).items[0].id;
      for (const [hash, name] of [
        ["#/draws", "draws"],
        [`#/draw/${first}`, "draw"],
        ["#/users", "users"],
        [`#/user/${user}`, "user"],
        ["#/withdrawals", "withdrawals"],
        ["#/finance", "finance"],
        ["#/exports", "exports"],
        ["#/audit", "audit"],
      ])
        await this.go(tab, hash, `admin-${name}`);
      await tab.page.evaluate(() => (location.hash = "#/charges"));
      await this.press(tab, ".chip:last-child");
      await tab.page.evaluate(() => document.activeElement.blur());
      await tab.page.waitForSelector("tbody tr");
      await this.take(tab, "admin-charges");
    }
    await tab.page.evaluate(() => (location.hash = "#/"));
    // Some commits, so that there is a line to see.
    await new Promise((done) => setTimeout(done, 40_000));
    await this.take(tab, "admin-dashboard");
    await tab.close();
  }
}

/** Five pictures of a phone side by side. */
async function overview(world, language) {
  const names = ["play", "checkout-money", "draw-live", "draw", "verify"];
  const tab = await world.browser.newPage();
  await tab.setViewport({ width: 1680, height: 715 });
  const pictures = names.map((name) => {
    const bytes = readFileSync(`${FOLDER}/${name}-${language}-phone.webp`).toString("base64");
    return `<img src="data:image/webp;base64,${bytes}">`;
  });
  const style =
    "body{margin:0;height:715px;background:#e4e2d6;display:flex;justify-content:space-around;align-items:center;" +
    "padding:0 10px}img{width:312px;border-radius:20px}";
  await tab.setContent(`<style>${style}</style>${pictures.join("")}`, { waitUntil: "load" });
  const file = `${FOLDER}/overview-${language}-phone.webp`;
  await tab.screenshot({ path: file, type: "webp", quality: QUALITY });
  await tab.close();
  console.log(path.basename(file));
}

mkdirSync(FOLDER, { recursive: true });
// The pictures look the same on every machine that has Debian's fonts-inter.
const fonts = path.join(mkdtempSync(path.join(tmpdir(), "fonts-")), "fonts.conf");
writeFileSync(
  fonts,
  `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><include>/etc/fonts/fonts.conf</include>
  ${["system-ui", "sans", "sans-serif"]
    .map((name) => `<alias binding="strong"><family>${name}</family><prefer><family>Inter</family></prefer></alias>`)
    .join("")}</fontconfig>`,
);
process.env.FONTCONFIG_FILE = fonts;
const world = await World.start();
let stop;
try {
  const scene = await play(world);
  stop = sell(world, [scene.first, scene.second]);
  const heroes = [...HEROES];
  const only = process.env.ONLY;
  for (const [language, screen, dark] of [
    ["en", "phone", false],
    ["en", "desktop", false],
    ["ru", "phone", false],
    ["ru", "desktop", false],
    ["en", "phone", true],
    ["en", "desktop", true],
  ]) {
    const series = new Series(world, language, screen, dark);
    if (only && !series.end.includes(only)) continue;
    await series.player(heroes.shift(), scene);
    if (!dark) await series.voided(scene);
    if (!dark || screen === "desktop") await series.admin(scene);
  }
  if (!only) for (const language of ["en", "ru"]) await overview(world, language);
} finally {
  await stop?.();
  await world.stop();
}
