// What the numbers of a draw follow from: the commitment, the owner of an order, and the drawing itself.

import { base64, concat, expand, hmac, Refused, sha256, u64, utf8 } from "./bytes.js";

const LABEL = (text) => utf8(`${text}\0`);
const STREAM = 8160;

/** The commitment to a seed, for the ticket log of its draw. */
export const commitmentOf = (seed, origin) => sha256(LABEL("lottery/seed/v1"), sha256(utf8(origin)), seed);

/** How the list names the owner of an order. */
export const ownerOf = (salt, user) => base64(sha256(LABEL("lottery/owner/v1"), salt, u64(user)));

export const sealedMaterial = (root, orders) => concat(root, u64(orders));

/** The numbers in the order in which they are drawn. */
export function drawNumbers(salt, material, announcement, round, pick, of) {
  const key = hmac(salt, material);
  const stream = expand(key, concat(LABEL("lottery/numbers/v1"), sha256(announcement), u64(round)), STREAM);
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  const numbers = Array.from({ length: of }, (_, index) => index + 1);
  let at = 0;
  for (let i = 0; i < pick; i++) {
    const rest = BigInt(of - i);
    const limit = 2n ** 64n - (2n ** 64n % rest);
    let value;
    do {
      if (at === STREAM) throw new Refused("stream");
      value = view.getBigUint64(at);
      at += 8;
    } while (value >= limit);
    const j = i + Number(value % rest);
    [numbers[i], numbers[j]] = [numbers[j], numbers[i]];
  }
  return numbers.slice(0, pick);
}
