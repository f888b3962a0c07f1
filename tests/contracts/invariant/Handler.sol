// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {TestUSD} from "../../../contracts/mocks/TestUSD.sol";
import {
    Account,
    ClaimAuthorization,
    Line,
    Party,
    ShareProof,
    Split,
    Tariff,
    Thaw
} from "../../../contracts/types/Structs.sol";
import {Assets, UsageLanes} from "../../../contracts/types/Units.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";
import {World} from "./World.sol";

/// What people do, in any order, with books of its own beside the contract's (the ghost sums).
/// An action that must be refused is tried too, and must be.
contract Handler is World {
    struct Sealed {
        uint256 tariff;
        uint64 sealedAt;
        address signer;
        bytes signature;
        Line[] lines;
    }

    mapping(uint256 tariff => mapping(address payer => uint256)) public arrived;
    mapping(uint256 tariff => mapping(address payer => uint256)) public withdrawn;
    mapping(uint256 tariff => mapping(address payer => int64)) internal used;
    mapping(uint256 split => uint256) public funded;
    mapping(uint256 split => uint256) public drawn;
    mapping(uint256 split => uint256) public claimed;
    mapping(address asset => uint256) public donated;
    mapping(address asset => mapping(address payer => uint256)) public paidBack;
    mapping(bytes32 action => uint256) public count;
    Sealed internal last;

    constructor(ISettlementSplitter splitter_) World(splitter_) {
        for (uint256 p = 0; p < providers.length; ++p) {
            for (uint256 s = 0; s < SIGNERS; ++s) {
                vm.prank(providers[p]);
                splitter.setSigner(signerAt(s), type(uint64).max);
            }
        }
    }

    /* ESCROW */

    function deposit(uint256 tariffSeed, uint256 payerSeed, uint256 giverSeed, uint256 amount) external {
        (uint256 t, address payer) = (tariffSeed % tariffs.length, payers[payerSeed % PAYERS]);
        // Every second deposit is a gift; some are tiny, some huge.
        address giver = giverSeed % 2 == 0 ? payer : address(0x61F7);
        amount = 1 + amount % (giverSeed % 3 == 0 ? 10 : giverSeed % 3 == 1 ? 1e9 : 1e30);
        Split memory split = splits[splitOfTariff[t]];
        provide(split.asset, giver, amount);
        vm.prank(giver);
        arrived[t][payer] += Assets.unwrap(splitter.deposit(tariffs[t], split, payer, Assets.wrap(amount)));
        ++count["deposit"];
    }

    function thaw(uint256 tariffSeed, uint256 payerSeed, uint256 amount) external {
        (uint256 t, address payer) = (tariffSeed % tariffs.length, payers[payerSeed % PAYERS]);
        uint256 balance = splitter.account(tariffKey[t], payer).balance;
        vm.prank(payer);
        splitter.thaw(tariffs[t], Assets.wrap(amount % (balance + 1)));
        refuse(payer, abi.encodeCall(splitter.thaw, (tariffs[t], Assets.wrap(balance + 1))));
        ++count["thaw"];
    }

    function withdraw(uint256 tariffSeed, uint256 payerSeed) external {
        (uint256 t, address payer) = (tariffSeed % tariffs.length, payers[payerSeed % PAYERS]);
        Split memory split = splits[splitOfTariff[t]];
        Thaw memory thawing = splitter.thawing(tariffKey[t], payer);
        bytes memory call = abi.encodeCall(splitter.withdraw, (tariffs[t], split));
        if (thawing.amount == 0 || block.timestamp < thawing.end) return refuse(payer, call);
        uint256 before = TestUSD(split.asset).balanceOf(payer);
        vm.prank(payer);
        uint256 paid = Assets.unwrap(splitter.withdraw(tariffs[t], split));
        vm.assertLe(paid, thawing.amount, "paid more than was thawing");
        withdrawn[t][payer] += paid;
        paidBack[split.asset][payer] += TestUSD(split.asset).balanceOf(payer) - before;
        ++count["withdraw"];
    }

    /* SETTLEMENT */

    function settle(uint256 tariffSeed, uint256 signerSeed, uint256 payerMask, uint256 age, uint256 seed)
        external
    {
        delete last;
        last.tariff = tariffSeed % tariffs.length;
        last.sealedAt = uint64(block.timestamp - age % 1 hours);
        last.signer = signerAt(signerSeed % SIGNERS);
        for (uint256 i = 0; i < PAYERS; ++i) {
            if ((payerMask >> i) & 1 == 0) continue;
            last.lines.push(nextLine(last.tariff, payers[i], uint256(keccak256(abi.encode(seed, i)))));
        }
        sealStatement(signerSeed % SIGNERS);
        submit();
    }

    /// The same statement once more, perhaps after others, top-ups, withdrawals or a change of signers.
    function replay() external {
        if (last.sealedAt != 0) submit();
    }

    function setSigner(uint256 providerSeed, uint256 signerSeed, uint256 kind) external {
        uint64 until = kind % 8 == 0 ? 0 : kind % 8 == 1 ? uint64(block.timestamp) : type(uint64).max;
        vm.prank(providers[providerSeed % providers.length]);
        splitter.setSigner(signerAt(signerSeed % SIGNERS), until);
    }

    function fund(uint256 splitSeed, uint256 amount) external {
        uint256 s = splitSeed % splits.length;
        amount = 1 + amount % 1e12;
        provide(splits[s].asset, address(0xF0D), amount);
        vm.prank(address(0xF0D));
        funded[s] += Assets.unwrap(splitter.fund(splits[s], Assets.wrap(amount)));
        ++count["fund"];
    }

    /* CLAIMS */

    function claimFirst(uint256 splitSeed, uint256 partySeed) external {
        uint256 s = splitSeed % splits.length;
        uint256 p = partySeed % members[s].length;
        (ShareProof memory proof,) = Plain.proof(members[s], p);
        claimed[s] += Assets.unwrap(splitter.claimFirst(splits[s], members[s][p], proof));
        ++count["claimFirst"];
    }

    function claimLater(uint256 splitSeed, uint256 partySeed, uint256 way) external {
        uint256 s = splitSeed % splits.length;
        uint256 p = partySeed % members[s].length;
        address who = members[s][p].account;
        uint256 offset = offsets[s][p];
        bytes memory call = abi.encodeCall(splitter.claim, (offset, who, splits[s]));
        if (splitter.stake(splitKey[s], offset, who).share == 0) return refuse(who, call);
        if (way % 3 == 0) {
            claimed[s] += Assets.unwrap(splitter.claim(offset, who, splits[s]));
        } else if (way % 3 == 1) {
            vm.prank(who);
            claimed[s] += Assets.unwrap(splitter.claimTo(splits[s], offset, RECIPIENT));
        } else {
            claimed[s] += claimByConsent(s, p, offset);
        }
        ++count["claimLater"];
    }

    /* THE REST */

    function donate(uint256 assetSeed, uint256 amount) external {
        address asset = assets[assetSeed % assets.length];
        amount %= 1e12;
        (bool success,) =
            asset.call(abi.encodeWithSignature("mint(address,uint256)", address(splitter), amount));
        vm.assertTrue(success);
        donated[asset] += amount;
    }

    function pass(uint256 time) external {
        vm.warp(block.timestamp + time % 10 days);
    }

    /* HELPERS */

    function nextLine(uint256 t, address payer, uint256 seed) private returns (Line memory) {
        int64[8] memory lanes;
        uint256 kind = seed % 8;
        int64 step = int64(int256((seed >> 8) % 1e6));
        // Mostly growing, sometimes a correction, seldom at the edges of its lanes.
        used[t][payer] += kind == 1 ? -step : step;
        lanes[0] = used[t][payer];
        lanes[1] = int64(int256(seed >> 64));
        if (kind < 6) lanes[1] %= 1000;
        if (kind == 7) lanes[3] = int64(int256(seed >> 128));
        return Line(payer, Plain.usage(lanes), bytes32(seed));
    }

    function sealStatement(uint256 signer) private {
        bytes32 structHash = Plain.statementHash(tariffKey[last.tariff], last.sealedAt, last.lines);
        bytes32 digest = digestOf(structHash);
        if (signer < keys.length) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[signer], digest);
            last.signature = abi.encodePacked(r, s, v);
        } else {
            contractSigner.accept(digest, true);
        }
    }

    function submit() private {
        Tariff memory tariff = tariffs[last.tariff];
        Account[] memory before = look();
        bytes memory call =
            abi.encodeCall(splitter.settle, (last.signer, last.signature, last.sealedAt, tariff, last.lines));
        if (last.sealedAt > splitter.signerUntil(tariff.provider, last.signer)) {
            return refuse(address(this), call);
        }
        uint256 sum =
            Assets.unwrap(splitter.settle(last.signer, last.signature, last.sealedAt, tariff, last.lines));
        uint256 s = splitOfTariff[last.tariff];
        drawn[s] += sum;
        vm.assertEq(checkDraws(before, look()), sum, "drawn");
        ++count["settle"];

        // At once again: the same statement finds nothing more.
        sum = Assets.unwrap(splitter.settle(last.signer, last.signature, last.sealedAt, tariff, last.lines));
        vm.assertEq(sum, 0, "a replayed statement drew");
    }

    function look() private view returns (Account[] memory found) {
        found = new Account[](last.lines.length);
        for (uint256 i = 0; i < found.length; ++i) {
            found[i] = splitter.account(tariffKey[last.tariff], last.lines[i].payer);
        }
    }

    /// Law 2: each draw is at most the price; what is settled never falls, and exceeds no price but an older one.
    function checkDraws(Account[] memory before, Account[] memory afterwards)
        private
        view
        returns (uint256 sum)
    {
        for (uint256 i = 0; i < before.length; ++i) {
            uint256 price = Assets.unwrap(splitter.price(tariffs[last.tariff], last.lines[i].usage));
            vm.assertGe(afterwards[i].settled, before[i].settled, "settled fell");
            uint256 draw = afterwards[i].settled - before[i].settled;
            vm.assertLe(draw, price, "drawn more than the price");
            vm.assertEq(before[i].balance - draw, afterwards[i].balance, "balance");
            if (draw != 0) vm.assertLe(afterwards[i].settled, price, "settled beyond the price");
            bool skipped = last.sealedAt < before[i].sealedAt;
            if (skipped) vm.assertEq(draw, 0, "a skipped line drew");
            vm.assertEq(
                uint256(afterwards[i].sealedAt), skipped ? before[i].sealedAt : last.sealedAt, "sealedAt"
            );
            sum += draw;
        }
    }

    function claimByConsent(uint256 s, uint256 p, uint256 offset) private returns (uint256) {
        address who = members[s][p].account;
        ClaimAuthorization memory consent =
            ClaimAuthorization(splitKey[s], offset, who, RECIPIENT, splitter.nonces(who), block.timestamp);
        (uint8 v, bytes32 r, bytes32 sig) = vm.sign(partyKey(s, p), digestOf(Plain.claimHash(consent)));
        bytes memory signature = abi.encodePacked(r, sig, v);
        bytes memory call = abi.encodeCall(splitter.claimWithAuthorization, (splits[s], consent, signature));
        uint256 due = Assets.unwrap(splitter.claimable(splits[s], offset, who));
        uint256 paid = 0;
        if (due != 0) paid = Assets.unwrap(splitter.claimWithAuthorization(splits[s], consent, signature));
        vm.assertEq(paid, due);
        // Used, or with nothing to pay.
        refuse(who, call);
        return paid;
    }

    function digestOf(bytes32 structHash) private view returns (bytes32) {
        return Plain.digest(Plain.domainSeparator(block.chainid, address(splitter)), structHash);
    }

    function provide(address asset, address who, uint256 amount) private {
        (bool minted,) = asset.call(abi.encodeWithSignature("mint(address,uint256)", who, amount));
        vm.prank(who);
        (bool approved,) =
            asset.call(abi.encodeWithSignature("approve(address,uint256)", address(splitter), amount));
        vm.assertTrue(minted && approved);
    }

    function refuse(address who, bytes memory call) private {
        vm.prank(who);
        (bool success,) = address(splitter).call(call);
        vm.assertFalse(success);
        ++count["refused"];
    }
}
