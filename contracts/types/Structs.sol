// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RateLanes, UsageLanes} from "./Units.sol";

/// Who gets what (protocol section 5). `root` is that of the sum tree over the parties.
struct Split {
    address asset;
    bytes32 root;
    uint128 totalShares;
}

/// One leaf of a split. Roles: 1 model, 2 compute, 3 data, 4 channel, 5 service; others are free, 0 is refused.
struct Party {
    address account;
    uint8 role;
    uint128 share;
}

/// What usage costs (protocol section 6): base units per 10^scale of each meter.
struct Tariff {
    address provider;
    bytes32 splitId;
    RateLanes[2] rates;
    uint8 scale;
    uint32 thawPeriod;
    bytes32 terms;
}

/// One payer's cumulative usage, and the head of the logs that prove it (protocol section 8).
struct Line {
    address payer;
    UsageLanes[2] usage;
    bytes32 head;
}

/// What the meter signs (protocol section 8).
struct Statement {
    bytes32 tariffId;
    uint64 sealedAt;
    Line[] lines;
}

/// A payer's escrow under one tariff (protocol section 7), in one slot.
/// `settled` is all that was ever drawn, `sealedAt` the time of the newest statement that was settled.
struct Account {
    uint112 balance;
    uint112 settled;
    uint32 sealedAt;
}

/// What a payer is taking back, and from when on it can be withdrawn. No thaw is under way while `amount` is 0.
struct Thaw {
    uint112 amount;
    uint64 end;
}

/// A registered party's part of a split, in one slot. Unregistered while `share` is 0.
struct Stake {
    uint128 share;
    uint128 claimed;
}

/// The siblings of a party's leaf, from the leaf up. Bit i of `path` is set where sibling i stands on the left.
struct ShareProof {
    uint256 path;
    bytes32[] hashes;
    uint128[] sums;
}

/// A party's consent, by EIP-712, that its next claim is paid to `recipient`.
struct ClaimAuthorization {
    bytes32 splitId;
    uint256 offset;
    address account;
    address recipient;
    uint256 nonce;
    uint256 deadline;
}
