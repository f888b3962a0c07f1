// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Protocol sections 1 and 2: what is measured and what is owned never mix. These types have no operator in
/// common and do not convert into each other; `Pricing` alone leads from usage to assets.

/// Four of the eight meters of a usage, each a signed 64-bit lane, meter 0 in the highest bits.
type UsageLanes is uint256;

/// The prices of four meters, each an unsigned 64-bit lane, in the order of the meters.
type RateLanes is uint256;

/// An amount of an ERC-20 token, in base units.
type Assets is uint256;

/// What one line of a statement drew, and when the statement was sealed, in one word of an event: `sealedAt` in the
/// highest 32 bits, the base units drawn in the lowest 112.
type SealedDraw is uint256;

/// What one claim paid, and of which stake, in one word of an event: the stake's offset in the highest 128 bits, the
/// base units in the lowest 128.
type StakePayment is uint256;
