// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SettlementSplitter} from "../../contracts/SettlementSplitter.sol";
import {Account, Line, Tariff} from "../../contracts/types/Structs.sol";
import {Assets, RateLanes, UsageLanes} from "../../contracts/types/Units.sol";
import {vm} from "../contracts/support/Vm.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// Puts an account into any state that its slot can hold.
contract OpenSplitter is SettlementSplitter {
    function put(bytes32 id, address payer, Account calldata state) external {
        bytes32 slot = keccak256(abi.encode(payer, keccak256(abi.encode(id, _accountsSlot()))));
        uint256 word =
            uint256(state.balance) | (uint256(state.settled) << 112) | (uint256(state.sealedAt) << 224);
        assembly ("memory-safe") {
            sstore(slot, word)
        }
    }

    /// @dev Where the compiler puts `_accounts`; `put` proves itself by reading back.
    function _accountsSlot() private pure returns (uint256) {
        return 3;
    }
}

/// A meter that accepts every statement, so that nothing but the settlement itself bounds what is drawn.
contract YesSigner is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return IERC1271.isValidSignature.selector;
    }
}

/// What one line of a settlement does, from every state of the account and for every usage. See scripts/prove.
contract SettleProof {
    OpenSplitter private splitter = new OpenSplitter();
    YesSigner private signer = new YesSigner();

    constructor() {
        splitter.setSigner(address(signer), type(uint64).max);
    }

    /// Draws at most the balance; never more than the price less what was settled; and the same statement draws
    /// nothing a second time. What leaves the account is in `settled` and in the pot, to the unit.
    function check_Settle_DrawsWithinTheBalanceAndOnce(
        Account calldata before,
        uint64 rate,
        int64 usage,
        uint32 sealedAt,
        address payer
    ) external {
        vm.assume(uint256(before.balance) + before.settled <= type(uint112).max);
        vm.assume(sealedAt != 0 && sealedAt <= block.timestamp);
        Tariff memory tariff;
        tariff.provider = address(this);
        tariff.rates[0] = RateLanes.wrap(rate);
        bytes32 id = splitter.tariffId(tariff);
        splitter.put(id, payer, before);
        Account memory there = splitter.account(id, payer);
        assert(there.balance == before.balance && there.settled == before.settled);
        assert(there.sealedAt == before.sealedAt);

        Line[] memory lines = new Line[](1);
        lines[0].payer = payer;
        lines[0].usage[0] = UsageLanes.wrap(uint256(uint64(usage)));
        uint256 drawn = Assets.unwrap(splitter.settle(address(signer), "", sealedAt, tariff, lines));
        Account memory then = splitter.account(id, payer);

        assert(drawn <= before.balance);
        assert(then.balance == before.balance - drawn && then.settled == before.settled + drawn);
        assert(Assets.unwrap(splitter.pot(tariff.splitId)) == drawn);
        assert(
            sealedAt >= before.sealedAt
                ? then.sealedAt == sealedAt
                : drawn == 0 && then.sealedAt == before.sealedAt
        );
        uint256 worth = Assets.unwrap(splitter.price(tariff, lines[0].usage));
        assert(drawn == 0 || before.settled + drawn <= worth);

        uint256 again = Assets.unwrap(splitter.settle(address(signer), "", sealedAt, tariff, lines));
        assert(again == 0);
    }
}
