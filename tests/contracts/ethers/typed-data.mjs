// The types of protocol section 8, written here once more on purpose: this is the second implementation.
export const STATEMENT_TYPES = {
  Statement: [
    { name: "tariffId", type: "bytes32" },
    { name: "sealedAt", type: "uint64" },
    { name: "lines", type: "Line[]" },
  ],
  Line: [
    { name: "payer", type: "address" },
    { name: "usage", type: "uint256[2]" },
    { name: "head", type: "bytes32" },
  ],
};

export const CLAIM_TYPES = {
  ClaimAuthorization: [
    { name: "splitId", type: "bytes32" },
    { name: "offset", type: "uint256" },
    { name: "account", type: "address" },
    { name: "recipient", type: "address" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
};

/** Four lanes a word, meter 0 highest; negative lanes in two's complement. */
export function packLanes(lanes) {
  return [lanes.slice(0, 4), lanes.slice(4)].map((four) =>
    four.reduce((word, lane) => (word << 64n) | BigInt.asUintN(64, BigInt(lane)), 0n),
  );
}
