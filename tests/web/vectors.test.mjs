// The verifier of the web pages against the published vectors of crates/verifiable-draw, and against alterations of a
// receipt, a checkpoint and an entry. Runs in Node with nothing installed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const vectors = JSON.parse(readFileSync(new URL("crates/verifiable-draw/vectors.json", root), "utf8"));
const load = (name) => import(new URL(`web/js/verify/${name}.js`, root));
const { fromHex, hex, sha256, u64, utf8, fromUtf8, Refused } = await load("bytes");
const { leafHash, rootOfPath, Tree } = await load("merkle");
const { openCheckpoint, openProof, parseVkey } = await load("notes");
const { readEntry, readOrder, entriesOf, bundlePaths } = await load("entries");
const { commitmentOf, drawNumbers, ownerOf, sealedMaterial } = await load("numbers");
const { roundRandomness, roundTime, QUICKNET } = await load("beacon");

const refuses = async (run) => {
  try {
    await run();
  } catch (error) {
    assert.ok(error instanceof Refused, error.stack);
    return true;
  }
  return false;
};
const flipped = (bytes, bit) => bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

test("the leaf and the owner of an order", () => {
  const { entry, hash, salt, user } = vectors.leaf;
  assert.equal(hex(leafHash(utf8(entry))), hash);
  assert.equal(readOrder(utf8(entry)).owner, ownerOf(fromHex(salt), user));
});

test("trees and paths", () => {
  const leaves = Array.from({ length: 600 }, (_, index) =>
    leafHash(utf8(`${vectors.merkle.leaf_prefix}${index}`)),
  );
  for (const { size, root } of vectors.merkle.trees) {
    const tree = new Tree();
    leaves.slice(0, size).forEach((leaf) => tree.add(leaf));
    assert.equal(hex(tree.root), root, `tree of ${size}`);
  }
  const whole = new Tree();
  leaves.forEach((leaf) => whole.add(leaf));
  for (const { number, inclusion } of vectors.merkle.proofs_of_600) {
    const path = inclusion.map(fromHex);
    assert.deepEqual(rootOfPath(leaves[number], number, 600, path), whole.root);
    assert.throws(() => rootOfPath(leaves[number], number, 600, path.slice(1)), Refused);
    assert.throws(() => rootOfPath(leaves[number], number, 600, [...path, path[0]]), Refused);
    assert.throws(() => rootOfPath(leaves[number], 600, 600, path), Refused);
  }
});

test("checkpoints and receipts", async () => {
  const key = parseVkey(vectors.texts.vkey);
  const entries = [...entriesOf(fromHex(vectors.texts.bundle))];
  const tree = new Tree();
  entries.forEach((entry) => tree.add(leafHash(entry)));
  const checkpoint = await openCheckpoint(vectors.texts.checkpoint, key);
  assert.deepEqual([checkpoint.size, checkpoint.root], [2, tree.root]);
  for (const [index, receipt] of vectors.texts.receipts.entries()) {
    assert.deepEqual((await openProof(receipt, key)).entry, entries[index]);
  }
});

test("every alteration of a receipt is refused", async () => {
  const key = parseVkey(vectors.texts.vkey);
  const data = utf8(vectors.texts.receipts[0]);
  const open = (bytes) => refuses(() => openProof(fromUtf8(bytes), key));
  const { length } = data;
  for (let at = 0; at < length; at++) {
    assert.ok(await open(data.subarray(0, at)), `prefix of ${at}`);
    assert.ok(
      await open(Uint8Array.from([...data.subarray(0, at), ...data.subarray(at + 1)])),
      `without byte ${at}`,
    );
    for (const byte of utf8(" \n\t\r#+=A0,x")) {
      assert.ok(
        await open(Uint8Array.from([...data.subarray(0, at), byte, ...data.subarray(at)])),
        `byte ${byte} at ${at}`,
      );
    }
  }
  for (let bit = 0; bit < 8 * length; bit++) assert.ok(await open(flipped(data, bit)), `bit ${bit}`);
});

test("entries", async () => {
  for (const text of vectors.entries.accepted) readEntry(utf8(text));
  for (const text of vectors.entries.refused) assert.throws(() => readEntry(utf8(text)), Refused, text);
  // Which flipped bits give another entry, all implementations say alike.
  const data = utf8(vectors.entries.accepted[0]);
  const flips = new Uint8Array(data.length);
  for (let bit = 0; bit < 8 * data.length; bit++) {
    if (!(await refuses(() => readEntry(flipped(data, bit))))) flips[bit >> 3] |= 1 << (bit & 7);
  }
  assert.equal(hex(flips), vectors.entries.flippable);
});

test("commitments and numbers", () => {
  const { keys, numbers } = vectors;
  assert.equal(hex(commitmentOf(fromHex(keys.seed), keys.origin)), keys.commitment);
  const sealed = sealedMaterial(fromHex(numbers.root), numbers.orders);
  const announcement = utf8(numbers.announcement);
  for (const { k, n, commit_reveal: seeded, beacon, empty_draw: empty } of numbers.games) {
    assert.deepEqual(drawNumbers(fromHex(numbers.seed), sealed, announcement, 0, k, n), seeded);
    assert.deepEqual(
      drawNumbers(fromHex(numbers.seed), sealedMaterial(sha256(new Uint8Array()), 0), announcement, 0, k, n),
      empty,
    );
    assert.deepEqual(
      drawNumbers(new Uint8Array(32), fromHex(numbers.randomness), announcement, numbers.round, k, n),
      beacon,
    );
  }
});

test("a round of the beacon", async () => {
  const { beacon } = vectors;
  assert.equal(beacon.chain_hash, QUICKNET.chain);
  assert.equal(beacon.public_key, hex(QUICKNET.publicKey));
  assert.equal(roundTime(beacon.round), beacon.time);
  const [key, signature] = [fromHex(beacon.public_key), fromHex(beacon.signature)];
  assert.equal(hex(await roundRandomness(key, beacon.round, signature)), beacon.randomness);
  assert.ok(await refuses(() => roundRandomness(key, beacon.round + 1, signature)));
  for (const bit of [0, 5, 100, 383])
    assert.ok(await refuses(() => roundRandomness(key, beacon.round, flipped(signature, bit))));
});

test("addresses of bundles", () => {
  assert.deepEqual([...bundlePaths(0)], []);
  assert.deepEqual([...bundlePaths(300)], ["tile/entries/000", "tile/entries/001.p/44"]);
  assert.equal([...bundlePaths(256 * 1001)].at(-1), "tile/entries/x001/000");
  assert.equal(u64(258).join(), "0,0,0,0,0,0,1,2");
});
