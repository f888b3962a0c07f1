// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account} from "../types/Structs.sol";

/// @title Accounts
/// @notice Reads and writes the one slot of an account at once, as the compiler lays it out: the balance in the lowest
/// 112 bits, settled in the next 112, sealedAt in the highest 32.
library Accounts {
    /// @return word The whole slot.
    function load(Account storage account) internal view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(account.slot)
        }
    }

    /// @notice Draws what a statement costs beyond what was settled, and no more than the balance; moves it from the
    /// balance to settled, and stores the statement's time.
    /// @dev Balance and settled together fit uint112, so settled cannot leave its bits.
    /// @param word The whole slot as it is.
    /// @param worth All that the statement costs. Compared before it is narrowed: it can be larger than any balance.
    /// @param stamp The statement's time where it stands in the slot: in the highest 32 bits.
    /// @return drawn What moved.
    function draw(Account storage account, uint256 word, uint256 worth, uint256 stamp)
        internal
        returns (uint256 drawn)
    {
        assembly ("memory-safe") {
            let held := shr(144, shl(144, word))
            let settled := shr(144, shl(32, word))
            drawn := mul(gt(worth, settled), sub(worth, settled))
            if gt(drawn, held) { drawn := held }
            // From the lowest bits to the next: what leaves the one arrives in the other, and neither borrows nor carries.
            word := add(shr(32, shl(32, word)), mul(drawn, 0xffffffffffffffffffffffffffff))
            sstore(account.slot, or(stamp, word))
        }
    }
}
