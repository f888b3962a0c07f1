// Recomputes a signed statement with ethers, which shares no code with this project.
// usage: node check-statement.mjs FILE...   Exit 1, and say what differs, if the digest or the signer does.
//
// FILE: {"domain": {name, version, chainId, verifyingContract},
//        "statement": {tariffId, sealedAt, lines: [{payer, usage: [w0, w1], head}]},
//        "signer": address, "signature": hex, "digest": hex (optional)}
// Whole numbers stand as JSON numbers or as decimal strings.
import { readFileSync } from "node:fs";

import { TypedDataEncoder, getAddress, verifyTypedData } from "ethers";

import { STATEMENT_TYPES } from "./typed-data.mjs";

export function differences({ domain, statement, signer, signature, digest }) {
  const found = [];
  const recomputed = TypedDataEncoder.hash(domain, STATEMENT_TYPES, statement);
  if (digest !== undefined && digest !== recomputed) {
    found.push(`digest: the file says ${digest}, ethers computes ${recomputed}`);
  }
  const recovered = verifyTypedData(domain, STATEMENT_TYPES, statement, signature);
  if (recovered !== getAddress(signer)) {
    found.push(`signer: the file says ${signer}, ethers recovers ${recovered}`);
  }
  return found;
}

if (import.meta.filename === process.argv[1]) {
  const files = process.argv.slice(2);
  if (files.length === 0) {
    console.error("usage: node check-statement.mjs FILE...");
    process.exit(2);
  }
  for (const file of files) {
    for (const difference of differences(JSON.parse(readFileSync(file, "utf8")))) {
      console.error(`${file}: ${difference}`);
      process.exitCode = 1;
    }
  }
}
