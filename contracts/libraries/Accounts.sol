// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account} from "../types/Structs.sol";

/// @title Accounts
/// @notice Reads and writes the one slot of an account at once, as the compiler lays it out: the balance in the lowest
/// 112 bits, settled in the next 112, sealedAt in the highest 32.
library Accounts {
    function load(Account storage slot)
        internal
        view
        returns (uint256 held, uint256 settled, uint256 sealedAt)
    {
        assembly ("memory-safe") {
            let word := sload(slot.slot)
            held := shr(144, shl(144, word))
            settled := shr(144, shl(32, word))
            sealedAt := shr(224, word)
        }
    }

    /// @dev The caller has checked that held and settled fit 112 bits, and sealedAt 32.
    function store(Account storage slot, uint256 held, uint256 settled, uint256 sealedAt) internal {
        assembly ("memory-safe") {
            sstore(slot.slot, or(held, or(shl(112, settled), shl(224, sealedAt))))
        }
    }
}
