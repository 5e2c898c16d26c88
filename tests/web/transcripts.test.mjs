// The verifier of the web pages on the published transcripts of crates/verifiable-draw. With ALTERED_TRANSCRIPTS=DIR it
// also judges the altered ones that the crate's tests write there, and must say what the crate says of each.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const vectors = new URL("crates/verifiable-draw/vectors/", root);
const { checkDraw } = await import(new URL("web/js/verify/check.js", root));

const read = (path) => readFileSync(new URL(path, vectors), "utf8");
const load = (path) => JSON.parse(read(path));
const key = read("key").trim();

/** A bundle of a list. Of a last one that is asked for with another width, what a service has. */
function bundle(directory) {
  const files = readdirSync(new URL(`${directory}/tile/entries/`, vectors), { recursive: true });
  const plain = (path) => path.replace(/\.p\/\d+$/, "");
  const known = new Map(
    files
      .filter((name) => !name.endsWith(".p"))
      .map((name) => [`tile/entries/${plain(name)}`, `${directory}/tile/entries/${name}`]),
  );
  return async (path) => {
    const file = known.get(plain(path));
    return file ? new Uint8Array(readFileSync(new URL(file, vectors))) : new Uint8Array();
  };
}

async function verify(transcript, { previous = null, list, receipt = null, signature = null }) {
  const steps = new Map();
  const source = {
    receipt,
    signature,
    keys: async () => ({ log: key }),
    proof: async () => transcript,
    previous: async () => previous,
    draw: async () => null,
    bundle: list ? bundle(list) : async () => new Uint8Array(),
  };
  const found = await checkDraw(transcript.draw_id, source, (step) => steps.set(step.key, step));
  const states = Object.fromEntries(
    [...steps].map(([name, { state, refused }]) => [name, refused ? refused.message : state]),
  );
  return { found, states };
}

const DRAW = ["log", "entries", "list", "numbers", "winners", "prizes", "jackpot"];
const allOk = (states, names) =>
  assert.deepEqual(
    names.map((name) => states[name]),
    names.map(() => "ok"),
    JSON.stringify(states),
  );

test("a draw with a seed, its jackpot, and receipts of it", async () => {
  const transcript = load("commit_reveal/proof.json");
  const options = { previous: load("commit_reveal/previous.json"), list: "commit_reveal" };
  const { found, states } = await verify(transcript, options);
  allOk(states, [...DRAW, "commitment"]);
  assert.deepEqual([found.list.orders, found.witnessed], [270, false]);
  for (const name of ["receipt", "sealed_receipt"]) {
    const receipt = { ...load(`commit_reveal/${name}.json`), user_id: 42 };
    allOk((await verify(transcript, { ...options, receipt })).states, [
      "receipt",
      "receipt_owner",
      "receipt_list",
    ]);
    const other = await verify(transcript, { ...options, receipt: { ...receipt, user_id: 43 } });
    assert.equal(other.states.receipt_owner, "owner");
  }
  const withoutPrevious = await verify(transcript, { list: "commit_reveal" });
  assert.deepEqual([withoutPrevious.states.jackpot, withoutPrevious.found.jackpotUnknown], ["skip", true]);
  const wrongPrevious = await verify(transcript, { list: "commit_reveal", previous: transcript });
  assert.equal(wrongPrevious.states.jackpot, "after");
});

test("the draw before it", async () => {
  allOk((await verify(load("commit_reveal/previous.json"), { list: "previous" })).states, DRAW);
});

test("a draw with a round and witnesses", async () => {
  const transcript = load("beacon/proof.json");
  const { found, states } = await verify(transcript, { list: "beacon" });
  allOk(states, [...DRAW, "beacon"]);
  assert.deepEqual([found.witnessed, found.witnesses > 1, found.unknownBeacon], [true, true, false]);
  const policy = transcript.policy.replace("quorum most", "quorum none");
  assert.equal((await verify({ ...transcript, policy }, { list: "beacon" })).states.entries, "policy");
  const uncosigned = structuredClone(transcript);
  for (const entry of uncosigned.entries) entry.proof = entry.proof.replace(/^— witness.*\n/gm, "");
  const silent = await verify(uncosigned, { list: "beacon" });
  allOk(silent.states, [...DRAW, "beacon"]);
  assert.deepEqual([silent.found.witnessed, silent.found.witnesses], [false, found.witnesses], "only the operator says when");
  const wrong = structuredClone(transcript);
  for (const entry of wrong.entries)
    entry.proof = entry.proof.replace(/^(— witness\S* \S{40})(.)/gm, (_, before, c) => before + (c === "A" ? "B" : "A"));
  assert.equal((await verify(wrong, { list: "beacon" })).states.entries, "signature", "a wrong cosignature is refused");
  // Signatures of others say nothing, whoever they are of.
  const others = structuredClone(transcript);
  const line = `— stranger.example/w ${Buffer.alloc(76, 7).toString("base64")}\n`;
  for (const entry of others.entries) entry.proof += line.repeat(5);
  const same = await verify(others, { list: "beacon" });
  allOk(same.states, [...DRAW, "beacon"]);
  assert.equal(same.found.witnessed, true);
});

test("a cancelled draw", async () => {
  const { found, states } = await verify(load("voided/proof.json"), { list: null });
  assert.deepEqual([states.log, states.entries], ["ok", "ok"]);
  assert.ok(found.voided.reason);
  // The crate refuses what was cancelled after the seal; what it says of the reasons is not said here.
  for (const name of ["no_quorum", "no_round", "operator", "before_seal"]) {
    const { found, states } = await verify(load(`voided/${name}.json`), { list: null });
    assert.deepEqual([states.log, states.entries], ["ok", "ok"], name);
    assert.equal(found.voidedLate, name !== "before_seal", name);
  }
});

test("the signature of the round shows what a cancelled draw would have drawn", async () => {
  const { beacon: round } = JSON.parse(readFileSync(new URL("../vectors.json", vectors), "utf8"));
  const drawn = JSON.parse(Buffer.from(load("beacon/proof.json").entries.at(-1).entry, "base64")).winning_numbers;
  for (const name of ["no_quorum", "no_round", "operator"]) {
    const { found, states } = await verify(load(`voided/${name}.json`), { list: "beacon", signature: round.signature });
    assert.deepEqual([states.list, states.beacon, states.numbers], ["ok", "ok", "ok"], name);
    assert.deepEqual(found.drawn.toSorted((a, b) => a - b), drawn, name);
    assert.deepEqual([found.voidedLate, found.wrongSignature, found.failed], [true, false, false], name);
    assert.deepEqual([found.round, found.chain], [round.round, round.chain_hash], name);
    // The signature of another round, of this chain or none, says nothing about the draw.
    for (const other of [`${round.signature.slice(0, -1)}0`, "00".repeat(48), "c0".padEnd(96, "0"), "ab"]) {
      const { found, states } = await verify(load(`voided/${name}.json`), { list: "beacon", signature: other });
      assert.deepEqual([found.wrongSignature, found.failed, found.drawn], [true, false, undefined], name);
      assert.deepEqual([states.beacon, states.numbers], ["skip", "skip"], name);
    }
  }
  // A draw that was not cancelled has the signature that it has published.
  const { found, states } = await verify(load("beacon/proof.json"), { list: "beacon", signature: "00".repeat(48) });
  allOk(states, [...DRAW, "beacon"]);
  assert.equal(found.wrongSignature, false);
});

test("what refutes the reason of a cancelled draw", async () => {
  const { beacon: round } = JSON.parse(readFileSync(new URL("../vectors.json", vectors), "utf8"));
  const refuted = async (name, options = {}) =>
    (await verify(load(`voided/${name}.json`), { list: "beacon", ...options })).found.refuted;
  // It was cancelled a moment after the round, and witnesses had cosigned the list.
  assert.equal(await refuted("no_round"), "early");
  assert.equal(await refuted("no_round", { signature: round.signature }), "signed");
  assert.equal(await refuted("no_quorum"), "cosigned");
  for (const name of ["operator", "before_seal", "proof"]) assert.equal(await refuted(name), null, name);
});

const altered = process.env.ALTERED_TRANSCRIPTS;
test(
  "altered transcripts are judged as the crate judges them",
  { skip: !altered && "ALTERED_TRANSCRIPTS names no directory" },
  async () => {
    const files = readdirSync(altered);
    assert.ok(files.length > 100, "altered transcripts");
    for (const file of files) {
      const { name, transcript, previous, accepted } = JSON.parse(readFileSync(`${altered}/${file}`, "utf8"));
      const { found, states } = await verify(transcript, { previous, list: "commit_reveal" });
      // The page calls these by their names, and they are never green.
      // The list is that of the draw with a draw before it.
      const isOtherList = !previous && states.list === "orders";
      const isRefused = (found.failed && !isOtherList) || found.voidedLate || Boolean(found.unknownBeacon);
      assert.equal(!isRefused, accepted, `${name}: ${JSON.stringify(states)}`);
    }
  },
);
