// What the browser tests share: a real service with a private Postgres, a line to it that can be cut and slowed down, and
// a headless Chromium in which every error and every request to another host is remembered. Holds no test.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import puppeteer from "puppeteer-core";

const PROGRAM = process.env.LOTTERY ?? "target/debug/lottery";
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
// How long anything may take, also while the machine is busy.
export const PATIENCE = 60_000;

// The most steps from the beginning of a page to anything on it, by the keyboard.
const MOST_TABS = 200;

export const PHONE = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
export const DESKTOP = { width: 1280, height: 900 };
export const PASSWORD = "battery staple of ann";

/** One lottery, whose draws are won easily. */
export const MINI = {
  LOTTERY__LOTTERIES:
    "[{id: mini, name: 2 of 5, pick: 2, of: 5, price: 10000, fund_share: 9000, " +
    "prizes: [{matches: 2, share: 10000}, {matches: 1, fixed: 1000}]}]",
};

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until something is there, and returns it. */
export async function until(what, look, patience = PATIENCE) {
  const end = Date.now() + patience;
  let last;
  while (Date.now() < end) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    await sleep(50);
  }
  throw new Error(`not within ${patience} ms: ${what}`, { cause: last });
}

/** A port that is free now. */
function freePort() {
  return new Promise((done) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** The line between the browser and the service: it can be cut, mended and slowed down. */
class Line {
  #sockets = new Set();
  #delay = 0;
  #cut = false;

  static async to(port) {
    const line = new Line();
    line.server = net.createServer((client) => line.#connect(client, port));
    await new Promise((done) => line.server.listen(0, "127.0.0.1", done));
    line.port = line.server.address().port;
    return line;
  }

  #connect(client, port) {
    if (this.#cut) return client.destroy();
    const service = net.connect(port, "127.0.0.1");
    for (const socket of [client, service]) {
      this.#sockets.add(socket);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        service.destroy();
      });
      socket.on("error", () => {});
    }
    client.pipe(service);
    // Timers of one length keep their order, so the bytes do, too.
    const send = (bytes) => client.destroyed || client.write(bytes);
    service.on("data", (bytes) => (this.#delay ? setTimeout(send, this.#delay, bytes).unref() : send(bytes)));
  }

  cut() {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#cut = false;
  }

  /** Each answer comes so many milliseconds later. */
  slow(ms) {
    this.#delay = ms;
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** The service, a browser, and an admin who speaks with the API. */
export class World {
  #tokens = new Map();

  static async start(settings = {}) {
    const world = new World();
    world.data = mkdtempSync(path.join(tmpdir(), "lottery-web-"));
    // The user of the private Postgres must get in, or its data stay outside and are not removed with this folder.
    chmodSync(world.data, 0o711);
    const port = await freePort();
    world.env = {
      ...process.env,
      LOTTERY__DATA_DIR: path.join(world.data, "data"),
      LOTTERY__SERVER__PORT: String(port),
      LOTTERY__LOG__LEVEL: "warn",
      // All visitors and the test itself come from one address.
      LOTTERY__LIMITS__ENABLED: "false",
      ...settings,
    };
    const log = openSync(path.join(world.data, "log"), "w");
    world.service = spawn(PROGRAM, ["serve"], { env: world.env, stdio: ["ignore", log, log] });
    world.ended = new Promise((done) => world.service.on("exit", done));
    world.direct = `http://127.0.0.1:${port}`;
    await until("the service is ready", async () => (await fetch(`${world.direct}/health/ready`)).ok);
    await world.#makeAdmin();
    world.line = await Line.to(port);
    // A name, as people type it; browsers take it for a secure place, as they take 127.0.0.1.
    world.origin = `http://localhost:${world.line.port}`;
    world.browser = await puppeteer.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox", "--disable-dev-shm-usage", "--lang=en"],
      protocolTimeout: 2 * PATIENCE,
    });
    return world;
  }

  async #makeAdmin() {
    const words = ["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"];
    const made = spawn(PROGRAM, words, { env: this.env, stdio: ["pipe", "ignore", "inherit"] });
    made.stdin.end(`${PASSWORD}\n`);
    assert.equal(await new Promise((done) => made.on("exit", done)), 0, "an admin is made");
  }

  /** A call of the API, by the admin if no other token is given. A token of null: by nobody. */
  async api(method, call, body, token) {
    if (token === undefined) token = await this.tokenOf("boss");
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), "Content-Type": "application/json" };
    const answer = await fetch(`${this.direct}/api/v1${call}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${call}: ${answer.status} ${text}`);
    return text && JSON.parse(text);
  }

  /** An access token of a user. */
  async tokenOf(name) {
    const known = this.#tokens.get(name);
    if (known && known.until > Date.now()) return known.token;
    const { access_token: token, expires_in } = await this.api("POST", "/auth/login", { login: name, password: PASSWORD }, null);
    this.#tokens.set(name, { token, until: Date.now() + (expires_in * 1000) / 2 });
    return token;
  }

  async balanceOf(name) {
    return (await this.api("GET", "/wallet", undefined, await this.tokenOf(name))).balance;
  }

  /** A new player with this amount in the wallet. Returns an access token. */
  async player(name, amount = 0) {
    await this.api("POST", "/auth/register", { username: name, email: `${name}@example.com`, password: PASSWORD }, null);
    const token = await this.tokenOf(name);
    if (amount) await this.api("POST", "/wallet/deposits", { amount, token: "tok_visa" }, token);
    return token;
  }

  /** A draw that is on sale for so many minutes, with pre-made tickets. */
  async openDraw({ lottery = "5of36", minutes = 60, pool = 5 } = {}) {
    const close = new Date(Date.now() + minutes * 60_000).toISOString();
    const draw = await this.api("POST", "/admin/draws", { lottery, sales_close_at: close });
    if (pool) await this.api("POST", `/admin/draws/${draw.id}/pool`, { count: pool });
    return this.api("POST", `/admin/draws/${draw.id}/open`);
  }

  /** Ends the sale and draws the numbers. */
  async conduct(draw) {
    await this.api("POST", `/admin/draws/${draw}/close`);
    await this.api("POST", `/admin/draws/${draw}/conduct`);
  }

  /** A new visitor: a page without cookies, in this language, at this address. */
  async visit(address = "/", { viewport = DESKTOP, language = "en", dark = false } = {}) {
    const context = await this.browser.createBrowserContext();
    const tab = new Tab(this, context, await context.newPage());
    await tab.prepare(viewport, language, dark);
    await tab.open(address);
    return tab;
  }

  async stop() {
    await this.browser?.close();
    this.line?.close();
    this.service.kill("SIGTERM");
    await this.ended;
    if (process.env.SHOW_LOG) console.error(readFileSync(path.join(this.data, "log"), "utf8"));
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** A tab of a visitor. What goes wrong in it is remembered. */
export class Tab {
  // Errors that a test provokes: texts that a line of the console may hold.
  expected = [];
  #errors = [];

  constructor(world, context, page) {
    Object.assign(this, { world, context, page });
  }

  async prepare(viewport, language, dark) {
    const { page } = this;
    page.setDefaultTimeout(PATIENCE);
    await page.setViewport(viewport);
    await page.setExtraHTTPHeaders({ "Accept-Language": language });
    await page.evaluateOnNewDocument((language) => {
      Object.defineProperty(navigator, "language", { get: () => language });
      Object.defineProperty(navigator, "languages", { get: () => [language] });
    }, language);
    const scheme = { name: "prefers-color-scheme", value: dark ? "dark" : "light" };
    await page.emulateMediaFeatures([scheme, { name: "prefers-reduced-motion", value: "reduce" }]);
    page.on("console", (line) => line.type() === "error" && this.#errors.push(`${line.text()} ${line.location().url ?? ""}`));
    page.on("pageerror", (error) => this.#errors.push(String(error)));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(this.world.origin) && !/^(data|blob|about):/.test(url)) this.#errors.push(`a request to ${url}`);
    });
  }

  open(address) {
    return this.page.goto(this.world.origin + address, { waitUntil: "load" });
  }

  /** Another tab of the same visitor, with the same cookies. */
  async another(address, { viewport = DESKTOP, language = "en" } = {}) {
    const tab = new Tab(this.world, this.context, await this.context.newPage());
    await tab.prepare(viewport, language, false);
    await tab.open(address);
    return tab;
  }

  /** The first element that can be seen, has this role and name, and is one of these. While a dialog is open, in it. */
  #find(role, name, selector = "*", patience = PATIENCE) {
    return until(`a ${role} "${name}"`, async () => {
      for (const one of await this.page.$$(`::-p-aria([name="${name}"][role="${role}"])`)) {
        const fits = (it, selector) => it.matches(selector) && (!document.querySelector("dialog[open]") || !!it.closest("dialog[open]"));
        if ((await one.isVisible()) && (await one.evaluate(fits, selector))) return one;
      }
    }, patience);
  }

  async click(role, name, selector) {
    await this.#press(await this.#find(role, name, selector));
  }

  async #press(element) {
    await element.evaluate((it) => it.scrollIntoView({ block: "center" }));
    await element.click();
    await element.dispose();
  }

  /** Chooses an option by its text. */
  async select(name, text) {
    const element = await this.#find("combobox", name);
    const value = await element.evaluate((it, text) => [...it.options].find((one) => one.text.includes(text))?.value, text);
    await element.select(value);
    await element.dispose();
  }

  /** The first button or link that can be seen, whose name begins so. */
  async clickBeginning(role, beginning) {
    const element = await until(`a ${role} "${beginning}…"`, async () => {
      for (const one of await this.page.$$(`::-p-aria([role="${role}"])`)) {
        const name = await one.evaluate((it) => (it.ariaLabel ?? it.innerText).replace(/\s+/g, " ").trim());
        if (name.startsWith(beginning) && (await one.isVisible())) return one;
      }
    });
    await this.#press(element);
  }

  async type(name, text) {
    const element = await this.#find("textbox", name);
    await element.click({ count: 3 });
    await element.type(text);
    await element.dispose();
  }

  /** Waits until the page shows this text. */
  see(text) {
    const shows = (text) => document.body.innerText.replaceAll("\u00a0", " ").toLowerCase().includes(text.toLowerCase());
    return this.page.waitForFunction(shows, { polling: 100 }, text).catch(async (cause) => {
      const shown = await this.page.evaluate(() => document.body.innerText);
      throw new Error(`the page does not show "${text}", but:\n${shown}`, { cause });
    });
  }

  /** Waits until the page shows this text no more. */
  seeNoMore(text) {
    const hides = (text) => !document.body.innerText.replaceAll("\u00a0", " ").toLowerCase().includes(text.toLowerCase());
    return this.page.waitForFunction(hides, { polling: 100 }, text);
  }

  /** The same if the element is there within a moment. */
  async clickIfThere(role, name, selector) {
    const found = await this.#find(role, name, selector, 1_000).catch(() => null);
    // It may go away in this very moment.
    if (found) await this.#press(found).catch((error) => assert.match(error.message, /detached/));
  }

  /** Types into a field that is no plain text field. */
  async fill(name, text, role = "spinbutton") {
    const element = await Promise.any([role, "textbox"].map((role) => this.#find(role, name)));
    await element.click({ count: 3 });
    await element.type(text);
    await element.dispose();
  }

  /** A step of a draw's life: its button, and the same in the dialog that asks whether it is meant. */
  async step(name) {
    await this.click("button", name);
    await this.click("button", name, '[type="submit"]');
  }

  async closeDialog() {
    await this.page.keyboard.press("Escape");
    await this.page.waitForFunction(() => !document.querySelector("dialog[open]"));
  }

  /** Logs in as the page does, whatever language it speaks, and loads it again. */
  async withSession(name) {
    const logIn = async (login, password) => {
      const body = JSON.stringify({ login, password });
      const answer = await fetch("/web/session", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      localStorage.setItem("lottery.session", "1");
      return answer.status;
    };
    assert.equal(await this.page.evaluate(logIn, name, PASSWORD), 200);
    await this.page.reload({ waitUntil: "load" });
  }

  /** Waits until nothing is loaded and nothing moves any more. */
  async settled() {
    await this.page.waitForNetworkIdle({ idleTime: 500, concurrency: 2 });
    await this.page.waitForFunction(() => !document.querySelector(".blank") && document.getAnimations().every((one) => one.playState !== "running"));
  }

  /** Moves the focus by the keyboard to what has a name that begins so, and can be seen to have the focus. */
  async goTo(beginning) {
    const focus = () => {
      const it = document.activeElement;
      const name = (it.ariaLabel ?? it.labels?.[0]?.innerText ?? it.innerText ?? "").replace(/\s+/g, " ").trim();
      const style = getComputedStyle(it);
      return { name, isSeen: style.outlineStyle !== "none" || style.boxShadow !== "none" };
    };
    await this.page.waitForFunction((text) => document.body.innerText.includes(text), {}, beginning);
    for (let pressed = 0; pressed < MOST_TABS; pressed++) {
      const { name, isSeen } = await this.page.evaluate(focus);
      if (name.startsWith(beginning)) return assert.ok(isSeen, `the focus is seen at ${beginning}`);
      await this.page.keyboard.press("Tab");
    }
    throw new Error(`the keyboard does not lead to ${beginning}`);
  }

  /** Goes to a button or a link by the keyboard, and presses it. */
  async press(beginning) {
    await this.goTo(beginning);
    await this.page.keyboard.press("Enter");
  }

  /** Creates an account in the dialog that asks for one. */
  async register(name) {
    await this.type("Email", `${name}@example.com`);
    await this.type("Username", name);
    await this.type("Password", PASSWORD);
    await this.click("button", "Create account");
  }

  /** Logs in by the button of the page for players, and opens the account. */
  async enter(name) {
    await this.click("button", "Log in");
    await this.clickIfThere("button", "Log in", '[type="button"]');
    await this.logIn(name);
    await this.click("link", `Account of ${name}`);
    await this.see("Your log-ins");
  }

  /** Logs in, in the dialog that asks for it, or by the button that opens it. */
  async logIn(name) {
    await this.type("Username or email", name);
    await this.type("Password", PASSWORD);
    await this.click("button", "Log in", '[type="submit"]');
  }

  /** The text of the file that an action downloads. */
  async download(act) {
    const session = await this.page.createCDPSession();
    const folder = mkdtempSync(path.join(this.world.data, "download-"));
    await session.send("Browser.setDownloadBehavior", {
      behavior: "allow",
      downloadPath: folder,
      browserContextId: this.context.id,
    });
    await act();
    const name = await until("a file is downloaded", () =>
      readdirSync(folder).find((name) => !name.endsWith(".crdownload") && readFileSync(path.join(folder, name)).length),
    );
    return readFileSync(path.join(folder, name), "utf8");
  }

  /** Puts a file with this text into an input. */
  async choose(selector, name, text) {
    const file = path.join(this.world.data, name);
    writeFileSync(file, text);
    const input = await this.page.waitForSelector(selector);
    await input.uploadFile(file);
  }

  /** The steps of a verification that do not hold. */
  wrongSteps() {
    return this.page.$$eval(".verify-step", (steps) =>
      steps.filter((step) => step.dataset.state === "bad").map((step) => step.innerText),
    );
  }

  /** Closes the tab, in which nothing may have gone wrong that the test does not expect. */
  async close() {
    await this.page.close();
    const wrong = this.#errors.filter((error) => !this.expected.some((part) => error.includes(part)));
    assert.deepEqual(wrong, [], "errors in the page");
  }
}
