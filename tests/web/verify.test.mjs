// The page that verifies must find what was altered, and say yes only to what it has computed itself.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import { after, before, test } from "node:test";
import { MINI, World } from "./world.mjs";

let world, draw, ann, order;
before(async () => {
  world = await World.start(MINI);
  draw = await world.openDraw({ lottery: "mini" });
  ann = await world.player("ann", 100_000);
  const lines = [{ numbers: [1, 2] }, { numbers: [3, 4] }];
  order = await world.api("POST", `/draws/${draw.id}/tickets`, { tickets: lines, payment: "wallet" }, ann);
  await world.conduct(draw.id);
});
after(() => world?.stop());

const HOLDS = "Everything was computed here, and it holds";
const WRONG = "This does not hold";

/** The transcript with another text of one of its entries. */
const withEntry = (pick, change) => (transcript) => {
  const texts = transcript.entries.map((one) => Buffer.from(one.entry, "base64").toString());
  const at = texts.findIndex(pick);
  assert.ok(at >= 0, "there is such an entry");
  const changed = change(texts[at]);
  assert.notEqual(changed, texts[at]);
  transcript.entries[at].entry = Buffer.from(changed).toString("base64");
};

test("an honest draw holds, step by step, and so does its transcript as a file", async () => {
  const tab = await world.visit(`/verify/${draw.id}`);
  await tab.see(HOLDS);
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.open("/verify");
  const transcript = await world.api("GET", `/draws/${draw.id}/proof`, undefined, null);
  await tab.choose("#receipt-file", "transcript.json", JSON.stringify(transcript));
  await tab.see(HOLDS);
  await tab.close();
});

const completed = (text) => text.includes("draw_completed");
const announced = (text) => text.includes("draw_announced");
for (const [what, change] of [
  ["other winning numbers", withEntry(completed, (text) => text.replace(/"winning_numbers":\[(\d+),(\d+)\]/, (_, a, b) => (a === "1" && b === "2" ? '"winning_numbers":[1,3]' : '"winning_numbers":[1,2]')))],
  ["another commitment", withEntry(announced, (text) => text.replace(/"commitment":"(.)/, (_, c) => `"commitment":"${c === "0" ? "1" : "0"}`))],
  ["a proof of another entry", (transcript) => {
    const [first, second] = transcript.entries;
    [first.proof, second.proof] = [second.proof, first.proof];
  }],
  ["an entry that is missing", (transcript) => {
    transcript.entries.splice(1, 1);
  }],
  ["a signature with another byte", (transcript) => {
    for (const one of transcript.entries) {
      one.proof = one.proof.replace(/^(— \S+ \S{20})(.)/m, (_, before, c) => before + (c === "A" ? "B" : "A"));
    }
  }],
]) {
  test(`${what}: found`, async () => {
    const transcript = await world.api("GET", `/draws/${draw.id}/proof`, undefined, null);
    change(transcript);
    const tab = await world.visit("/verify");
    await tab.choose("#receipt-file", "transcript.json", JSON.stringify(transcript));
    await tab.see(WRONG);
    assert.notDeepEqual(await tab.wrongSteps(), []);
    await tab.close();
  });
}

test("a cancelled draw shows why, and what it would have drawn", async () => {
  const other = await world.openDraw({ lottery: "mini" });
  await world.api("POST", `/admin/draws/${other.id}/close`);
  await world.api("POST", `/admin/draws/${other.id}/cancel`, { reason: "a flood in the hall" });
  const tab = await world.visit(`/verify/${other.id}`);
  await tab.see("This draw was cancelled after its list was sealed");
  await tab.see("a flood in the hall");
  await tab.see("It would have drawn");
  assert.equal(await tab.page.$$eval(".verify-numbers .ball", (balls) => balls.length), 2);
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.close();
});

const vectors = new URL("../../crates/verifiable-draw/vectors/", import.meta.url);
const example = (path) => readFileSync(new URL(path, vectors));

/** Answers the address of a service with one draw more: the published example of a cancelled draw with a beacon. */
async function withExample(transcript) {
  const service = world.direct;
  const own = {
    "/api/v1/keys": JSON.stringify({ log: example("key").toString().trim(), policy: null }),
    "/api/v1/draws/8": JSON.stringify({ ...draw, id: 8, status: "cancelled", winning_numbers: null, drawn_at: null }),
    "/api/v1/draws/8/proof": example(transcript),
    "/api/v1/draws/8/log/tile/entries/000.p/5": example("beacon/tile/entries/000.p/5"),
  };
  const server = http.createServer((request, response) => {
    if (own[request.url]) return response.end(own[request.url]);
    const { method, headers, url } = request;
    const forwarded = http.request(service + url, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    request.pipe(forwarded);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  server.unref();
  return `http://localhost:${server.address().port}`;
}

test("the signature of its round shows what a cancelled draw with a beacon would have drawn", async () => {
  const { beacon } = JSON.parse(example("../vectors.json"));
  const { origin } = world;
  world.origin = await withExample("voided/no_round.json");
  try {
    const tab = await world.visit("/verify/8");
    await tab.see("This draw was cancelled after its list was sealed");
    await tab.see("Its numbers were to come from round 123");
    await tab.see("Refuted: the draw was cancelled before the time was over");
    await tab.see(`https://api.drand.sh/${beacon.chain_hash}/public/123`);
    for (const [text, problem] of [
      ["abc", "A signature has 96 digits"],
      [beacon.randomness, "A signature has 96 digits"],
      ["0".repeat(96), "This is not the signature of this round"],
    ]) {
      await tab.type("Signature of round 123", text);
      await tab.click("button", "Compute the numbers");
      await tab.see(problem);
      assert.deepEqual(await tab.wrongSteps(), [], "what somebody types says nothing about the draw");
    }
    // The beacon's whole answer fits, too.
    await tab.type("Signature of round 123", JSON.stringify({ round: 123, signature: beacon.signature }));
    await tab.click("button", "Compute the numbers");
    await tab.see("Refuted: the beacon has signed the round");
    const drawn = JSON.parse(Buffer.from(JSON.parse(example("beacon/proof.json")).entries.at(-1).entry, "base64"));
    await tab.see(`It would have drawn ${drawn.winning_numbers.join(", ")}.`);
    await tab.page.waitForSelector(`::-p-aria([name="Numbers ${drawn.winning_numbers.join(", ")}"])`);
    await tab.seeNoMore("Compute the numbers");
    assert.deepEqual(await tab.wrongSteps(), []);
    await tab.close();
  } finally {
    world.origin = origin;
  }
});

test("a receipt holds; one with another salt or of another order does not", async () => {
  const receipt = JSON.stringify({ receipt: order.receipt, tickets: order.tickets });
  const tab = await world.visit("/verify");
  await tab.choose("#receipt-file", "receipt.json", receipt);
  await tab.see(HOLDS);
  assert.deepEqual(await tab.wrongSteps(), []);
  const flip = (text, at) => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
  const lines = order.receipt.proof.split("\n");
  // The first hash of the proof, or the data that it proves.
  const at = lines.findIndex((line) => /^[A-Za-z0-9+/]{43}=$/.test(line));
  lines[at] = flip(lines[at], 5);
  const altered = { ...order.receipt, proof: lines.join("\n") };
  await tab.choose("#receipt-file", "altered.json", JSON.stringify({ receipt: altered, tickets: order.tickets }));
  await tab.see(WRONG);
  await tab.choose("#receipt-file", "nonsense.json", "{}");
  await tab.see("neither a receipt nor the record of a draw");
  // A receipt that another page has handed over belongs to one draw, and is taken once.
  const other = await world.openDraw({ lottery: "mini" });
  const open = async (id, verdict) => {
    await tab.open(`/verify/${id}`);
    await tab.see(verdict);
    return tab.page.$$eval(".verify-step", (steps) => steps.filter((it) => it.dataset.key.startsWith("receipt")).length);
  };
  const hand = () => tab.page.evaluate((file) => sessionStorage.setItem("lottery.receipt", file), receipt);
  await hand();
  assert.equal(await open(draw.id, HOLDS), 3);
  assert.equal(await open(draw.id, HOLDS), 0);
  await hand();
  assert.equal(await open(other.id, "So far it holds"), 0);
  await tab.close();
});
