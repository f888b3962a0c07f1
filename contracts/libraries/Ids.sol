// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Split, Tariff} from "../types/Structs.sol";

/// @title Ids
/// @notice Splits and tariffs travel in calldata; only these hashes of them are keys (protocol sections 5 and 6). What was
/// hashed is not checked again: the functions ending in `Of` read it as it is.
library Ids {
    /// @return key `keccak256(abi.encode(split))`
    function id(Split calldata split) internal pure returns (bytes32 key) {
        // As abi.encode, refuses an address beyond 160 bits and shares beyond 128: one split has one key.
        assembly ("memory-safe") {
            if or(shr(160, calldataload(split)), shr(128, calldataload(add(split, 0x40)))) { revert(0, 0) }
            let start := mload(0x40)
            calldatacopy(start, split, 0x60)
            key := keccak256(start, 0x60)
        }
    }

    /// @return key `keccak256(abi.encode(tariff))`
    function id(Tariff calldata tariff) internal pure returns (bytes32 key) {
        // As abi.encode, refuses an address beyond 160 bits, a scale beyond 8 and a thaw period beyond 32.
        assembly ("memory-safe") {
            let scale := calldataload(add(tariff, 0x80))
            let thawPeriod := calldataload(add(tariff, 0xa0))
            if or(shr(160, calldataload(tariff)), or(shr(8, scale), shr(32, thawPeriod))) {
                revert(0, 0)
            }
            let start := mload(0x40)
            calldatacopy(start, tariff, 0xe0)
            key := keccak256(start, 0xe0)
        }
    }

    /// @return key `keccak256(abi.encode(splitId, offset, account))`
    function stakeKey(bytes32 splitId, uint256 offset, address account) internal pure returns (bytes32 key) {
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, splitId)
            mstore(add(start, 0x20), offset)
            mstore(add(start, 0x40), shr(96, shl(96, account)))
            key := keccak256(start, 0x60)
        }
    }

    /// @dev The split was hashed before: that refused every address beyond 160 bits.
    function assetOf(Split calldata split) internal pure returns (address asset) {
        assembly ("memory-safe") {
            asset := calldataload(split)
        }
    }

    /// @dev The tariff was hashed before: that refused every address beyond 160 bits.
    function providerOf(Tariff calldata tariff) internal pure returns (address provider) {
        assembly ("memory-safe") {
            provider := calldataload(tariff)
        }
    }

    /// @dev The tariff was hashed before: that refused every scale beyond 8 bits.
    function scaleOf(Tariff calldata tariff) internal pure returns (uint256 scale) {
        assembly ("memory-safe") {
            scale := calldataload(add(tariff, 0x80))
        }
    }

    /// @dev The tariff was hashed before: that refused every thaw period beyond 32 bits.
    function thawPeriodOf(Tariff calldata tariff) internal pure returns (uint256 thawPeriod) {
        assembly ("memory-safe") {
            thawPeriod := calldataload(add(tariff, 0xa0))
        }
    }
}
