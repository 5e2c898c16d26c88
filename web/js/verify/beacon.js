// Rounds of drand: whether a signature is that of a round (scheme bls-unchained-g1-rfc9380). Loads the vendored curve only
// when a draw has a beacon.

import { fromHex, hex, require, sha256, u64 } from "./bytes.js";

const DOMAIN = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

/** Built in: drand's quicknet. */
export const QUICKNET = {
  chain: "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
  publicKey: fromHex(
    "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
  ),
  genesis: 1692803367,
  period: 3,
};

/** When a round appears, in Unix seconds. */
export const roundTime = (round, chain = QUICKNET) => chain.genesis + chain.period * (round - 1);

/** The first round at or after a time. */
export const firstRound = (time, chain = QUICKNET) =>
  Math.floor(Math.max(time - chain.genesis + chain.period - 1, 0) / chain.period) + 1;

/** The randomness of a round, if the signature is the round's under the key. */
export async function roundRandomness(publicKey, round, signature) {
  const { bls12_381: curve } = await import("../../vendor/noble-curves/bls12-381.js");
  const [G1, G2] = [curve.G1.ProjectivePoint, curve.G2.ProjectivePoint];
  let point;
  let key;
  try {
    point = G1.fromHex(hex(signature));
    key = G2.fromHex(hex(publicKey));
    for (const one of [point, key]) one.assertValidity();
  } catch {
    require(false, "beacon_point");
  }
  require(!point.equals(G1.ZERO) &&
    !key.equals(G2.ZERO) &&
    point.isTorsionFree() &&
    key.isTorsionFree(), "beacon_point");
  const message = G1.fromAffine(curve.G1.hashToCurve(sha256(u64(round)), { DST: DOMAIN }).toAffine());
  // e(signature, G2) = e(H(round), key), as one product of two pairings.
  const product = curve.pairingBatch([
    { g1: point, g2: G2.BASE },
    { g1: message.negate(), g2: key },
  ]);
  require(curve.fields.Fp12.eql(product, curve.fields.Fp12.ONE), "beacon_signature");
  return sha256(signature);
}
