// Bytes, texts and hashes. SHA-256 is a vendored function, since trees need it hundreds of thousands of times at once.

import { sha256 as hash } from "../../vendor/noble-hashes/sha256.js";

/** What was checked does not hold. `code` names the sentence that says why. */
export class Refused extends Error {
  constructor(code, detail = "") {
    super(detail ? `${code}: ${detail}` : code);
    Object.assign(this, { code, detail });
  }
}

export function require(condition, code, detail) {
  if (!condition) throw new Refused(code, detail);
}

const encoder = new TextEncoder();
export const utf8 = (text) => encoder.encode(text);

/** Bytes as text; bytes that are no UTF-8 are refused. */
export function fromUtf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("utf8");
  }
}

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const sha256 = (...parts) => hash(parts.length === 1 ? parts[0] : concat(...parts));

export function u64(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
  return bytes;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, index) => byte === b[index]);
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

export function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** The bytes of a base64 text; only the one text that encodes them is accepted. */
export function unbase64(text, length) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    throw new Refused("base64");
  }
  require(base64(bytes) === text, "base64");
  require(length === undefined || bytes.length === length, "length");
  return bytes;
}

/** A number without leading zeros, up to 2^53 - 1. */
export function decimal(text) {
  require(/^(0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(Number(text)), "number");
  return Number(text);
}

/** HMAC of RFC 2104 with SHA-256. */
export function hmac(key, ...parts) {
  const block = new Uint8Array(64);
  block.set(key.length > 64 ? sha256(key) : key);
  return sha256(
    block.map((byte) => byte ^ 0x5c),
    sha256(
      block.map((byte) => byte ^ 0x36),
      ...parts,
    ),
  );
}

/** HKDF-Expand of RFC 5869. */
export function expand(key, info, length) {
  const stream = new Uint8Array(Math.ceil(length / 32) * 32);
  let block = new Uint8Array();
  for (let counter = 1; counter * 32 <= stream.length; counter++) {
    block = hmac(key, block, info, Uint8Array.of(counter));
    stream.set(block, (counter - 1) * 32);
  }
  return stream.subarray(0, length);
}
