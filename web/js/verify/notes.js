// Signed notes, checkpoints and receipts of C2SP: parsing, and signatures by the browser's Ed25519.

import { decimal, equal, fromHex, hex, Refused, require, sha256, unbase64, utf8 } from "./bytes.js";
import { leafHash, rootOfPath } from "./merkle.js";

const ED25519 = 1;
/** The type of a witness' key. */
export const COSIGNATURE = 4;
const MOST_BYTES = 262_144;
const MOST_SIGNATURES = 64;
const MOST_EXTENSIONS = 16;
const PROOF_LINE = "c2sp.org/tlog-proof@v1";

/** Whether this browser can verify Ed25519 signatures. */
export async function canVerify() {
  try {
    await crypto.subtle.importKey(
      "raw",
      fromHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
      "Ed25519",
      false,
      ["verify"],
    );
    return true;
  } catch {
    return false;
  }
}

/** The points of small order, under which everything is signed. */
const SMALL_ORDER = new Set([
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]);
const P = 2n ** 255n - 19n;

function isGoodPoint(bytes) {
  const text = hex(bytes);
  if (SMALL_ORDER.has(text)) return false;
  const y = BigInt(`0x${hex(Uint8Array.from(bytes).reverse())}`) & (2n ** 255n - 1n);
  return y < P;
}

const keyId = (name, key) => sha256(utf8(name), Uint8Array.of(10), key).subarray(0, 4);

/** A verifier key: `name+id+base64(type ‖ key)`. */
export function parseVkey(text, type = ED25519) {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(text);
  require(match && match[1].length <= 255, "vkey");
  const [, name, id, encoded] = match;
  const key = unbase64(encoded);
  require(key.length === 33 && key[0] === type, "vkey");
  require(hex(keyId(name, key)) === id, "vkey_id");
  require(isGoodPoint(key.subarray(1)), "vkey_point");
  return { name, id, key, text };
}

async function verify(vkey, signature, message) {
  require(signature.length === 64 && isGoodPoint(signature.subarray(0, 32)), "signature");
  const key = await crypto.subtle
    .importKey("raw", vkey.key.subarray(1), "Ed25519", false, ["verify"])
    .catch(() => {
      throw new Refused("vkey_point");
    });
  require(await crypto.subtle.verify("Ed25519", key, signature, message), "signature");
}

/** The text of a note and its signature lines. */
function parseNote(note) {
  require(utf8(note).length <= MOST_BYTES, "note");
  const end = note.lastIndexOf("\n\n");
  require(end >= 0, "note");
  const [text, rest] = [note.slice(0, end + 1), note.slice(end + 2)];
  require(rest.endsWith("\n"), "note");
  const lines = rest.slice(0, -1).split("\n");
  require(lines.length <= MOST_SIGNATURES, "note");
  const signatures = lines.map((line) => {
    const match = /^— (\S+) (\S+)$/.exec(line);
    require(match, "note");
    const data = unbase64(match[2]);
    require(data.length > 4, "note");
    return { name: match[1], id: data.subarray(0, 4), signature: data.subarray(4) };
  });
  return { text, signatures };
}

const ownLines = ({ signatures }, { name, key }) =>
  signatures.filter((line) => line.name === name && equal(line.id, keyId(name, key)));

/** The text of a note that the key has signed. Each of its signature lines must hold; lines of others are ignored. */
export async function openNote(note, vkey) {
  const parsed = parseNote(note);
  const lines = ownLines(parsed, vkey);
  require(lines.length > 0, "unsigned");
  for (const { signature } of lines) await verify(vkey, signature, utf8(parsed.text));
  return parsed.text;
}

/** The times at which a witness has cosigned a note; none if it has not. */
export async function openCosignatures(note, vkey) {
  const parsed = parseNote(note);
  const times = [];
  for (const { signature } of ownLines(parsed, vkey)) {
    require(signature.length === 72, "signature");
    const time = new DataView(signature.buffer, signature.byteOffset, 8).getBigUint64(0);
    require(time < 2n ** 63n, "signature");
    await verify(vkey, signature.subarray(8), utf8(`cosignature/v1\ntime ${time}\n${parsed.text}`));
    times.push(Number(time));
  }
  return times;
}

/** The size and the root that a log has signed. The signing key must have the log's name. */
export async function openCheckpoint(note, vkey) {
  const lines = (await openNote(note, vkey)).split("\n");
  require(lines.length >= 4 && lines.at(-1) === "" && lines.length <= 4 + MOST_EXTENSIONS, "checkpoint");
  require(lines.slice(3, -1).every((line) => line !== ""), "checkpoint");
  require(lines[0] === vkey.name, "origin");
  return { origin: lines[0], size: decimal(lines[1]), root: unbase64(lines[2], 32) };
}

/** The parts of a tlog-proof. Nothing is verified yet. */
export function parseProof(text) {
  const split = text.indexOf("\n\n");
  require(split > 0, "proof");
  const [first, extra, index, ...path] = text.slice(0, split).split("\n");
  require(first === PROOF_LINE && extra?.startsWith("extra ") && index?.startsWith("index "), "proof");
  require(path.length <= 63, "proof");
  const note = text.slice(split + 2);
  return {
    entry: unbase64(extra.slice(6)),
    index: decimal(index.slice(6)),
    path: path.map((line) => unbase64(line, 32)),
    note,
    origin: note.slice(0, note.indexOf("\n")),
  };
}

/** Verifies a tlog-proof: the signature of its checkpoint, and the path from the entry to the signed root. */
export async function openProof(text, vkey) {
  const proof = parseProof(text);
  const checkpoint = await openCheckpoint(proof.note, vkey);
  const root = rootOfPath(leafHash(proof.entry), proof.index, checkpoint.size, proof.path);
  require(equal(root, checkpoint.root), "root");
  return { ...proof, checkpoint };
}

/** Which draw a receipt belongs to. */
export function drawOfReceipt(text) {
  const match = /\/draws\/([1-9][0-9]*)\/log$/.exec(parseProof(text).origin);
  require(match, "origin");
  return Number(match[1]);
}
