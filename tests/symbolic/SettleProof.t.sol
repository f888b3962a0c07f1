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

/// What there is to know about one line before it is settled.
struct Given {
    Account before;
    address payer;
    RateLanes[2] rates;
    UsageLanes[2] usage;
    uint32 sealedAt;
    uint32 timestamp;
}

/// What one line of a settlement does, from every state of its account, for every usage at every rate, at any time.
/// See scripts/prove.
contract SettleProof {
    OpenSplitter private splitter = new OpenSplitter();
    YesSigner private signer = new YesSigner();

    constructor() {
        splitter.setSigner(address(signer), type(uint64).max);
    }

    /// What leaves the balance is in `settled` and in the pot, to the unit; it is at most the balance.
    function check_Settle_DrawsWithinTheBalance(Given calldata given) external {
        bytes32 id = _begin(given);
        uint256 drawn = _settle(given);
        Account memory then = splitter.account(id, given.payer);
        assert(drawn <= given.before.balance);
        assert(then.balance == given.before.balance - drawn);
        assert(then.settled == given.before.settled + drawn);
        assert(_pot() == drawn);
    }

    /// What was ever settled is at most what all the usage costs, or nothing is drawn; and it is exactly that where the
    /// balance reaches.
    function check_Settle_DrawsWithinThePrice(Given calldata given) external {
        _begin(given);
        uint256 drawn = _settle(given);
        uint256 worth = Assets.unwrap(splitter.price(_tariff(given), given.usage));
        uint256 settled = given.before.settled;
        assert(drawn == 0 || settled + drawn <= worth);
        bool newer = given.sealedAt >= given.before.sealedAt;
        if (newer && settled <= worth && worth <= settled + given.before.balance) {
            assert(settled + drawn == worth);
        }
    }

    /// A statement older than the newest draws nothing and leaves the newest's time; any other leaves its own.
    function check_Settle_KeepsTheNewestTime(Given calldata given) external {
        bytes32 id = _begin(given);
        uint256 drawn = _settle(given);
        uint32 newest = splitter.account(id, given.payer).sealedAt;
        if (given.sealedAt < given.before.sealedAt) assert(drawn == 0 && newest == given.before.sealedAt);
        else assert(newest == given.sealedAt);
    }

    /// The same statement draws nothing a second time, and changes nothing.
    function check_Settle_DrawsOnce(Given calldata given) external {
        bytes32 id = _begin(given);
        uint256 drawn = _settle(given);
        Account memory once = splitter.account(id, given.payer);
        assert(_settle(given) == 0);
        Account memory twice = splitter.account(id, given.payer);
        assert(twice.balance == once.balance && twice.settled == once.settled);
        assert(twice.sealedAt == once.sealedAt && _pot() == drawn);
    }

    /// What is false must be refuted, or nothing here is proven: scripts/prove expects a counterexample.
    function refuted_Settle_DrawsNothing(Given calldata given) external {
        _begin(given);
        assert(_settle(given) == 0);
    }

    function _begin(Given calldata given) private returns (bytes32 id) {
        vm.assume(uint256(given.before.balance) + given.before.settled <= type(uint112).max);
        vm.assume(given.sealedAt != 0 && given.sealedAt <= given.timestamp);
        vm.warp(given.timestamp);
        id = splitter.tariffId(_tariff(given));
        splitter.put(id, given.payer, given.before);
        Account memory there = splitter.account(id, given.payer);
        assert(there.balance == given.before.balance && there.settled == given.before.settled);
        assert(there.sealedAt == given.before.sealedAt);
    }

    function _settle(Given calldata given) private returns (uint256) {
        Line[] memory lines = new Line[](1);
        lines[0].payer = given.payer;
        lines[0].usage = given.usage;
        // It never refuses: a path that reverts would otherwise be no path of the proof.
        try splitter.settle(address(signer), "", given.sealedAt, _tariff(given), lines) returns (Assets drawn) {
            return Assets.unwrap(drawn);
        } catch {
            assert(false);
        }
    }

    function _tariff(Given calldata given) private view returns (Tariff memory tariff) {
        tariff.provider = address(this);
        tariff.rates = given.rates;
        tariff.scale = 6;
    }

    function _pot() private view returns (uint256) {
        return Assets.unwrap(splitter.pot(bytes32(0)));
    }
}
