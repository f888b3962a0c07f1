// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {FeeToken, NoReturnToken} from "../../../contracts/mocks/OddTokens.sol";
import {ListSigner} from "../../../contracts/mocks/Signers.sol";
import {TestUSD} from "../../../contracts/mocks/TestUSD.sol";
import {Party, Split, Tariff} from "../../../contracts/types/Structs.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

/// Who and what there is: three tokens, four splits, six tariffs of two providers, five payers, three signers each.
contract World {
    uint256 public constant PAYERS = 5;
    uint256 public constant SIGNERS = 3;
    address internal constant RECIPIENT = address(0x0EC1);

    ISettlementSplitter public splitter;
    address[] public assets;
    address[] public payers;
    address[] public providers;
    uint256[] internal keys;
    ListSigner internal contractSigner;
    Tariff[] internal tariffs;
    Split[] internal splits;
    Party[][] internal members;
    uint256[] internal splitOfTariff;
    bytes32[] public tariffKey;
    bytes32[] public splitKey;
    /// The offset of each party, split by split.
    uint256[][] internal offsets;

    constructor(ISettlementSplitter splitter_) {
        splitter = splitter_;
        assets = [address(new TestUSD()), address(new FeeToken()), address(new NoReturnToken())];
        providers = [address(0xF001), address(0xF002)];
        keys = [uint256(0x51), 0x52];
        contractSigner = new ListSigner();
        for (uint256 i = 0; i < PAYERS; ++i) {
            payers.push(address(uint160(0xBA1E00 + i)));
        }
        addSplit(0, 3, 1000);
        addSplit(0, 5, 1);
        addSplit(1, 2, 1e18);
        addSplit(2, 4, 7);
        addTariff(0, 0, 6, 0);
        addTariff(0, 1, 0, 1 days);
        addTariff(1, 0, 9, 90 days);
        addTariff(2, 1, 3, 1 hours);
        addTariff(3, 0, 6, 7 days);
        addTariff(3, 1, 36, 7 days);
    }

    /* LOOKING */

    function tariffCount() external view returns (uint256) {
        return tariffs.length;
    }

    function splitCount() external view returns (uint256) {
        return splits.length;
    }

    function tariffAt(uint256 i) external view returns (Tariff memory) {
        return tariffs[i];
    }

    function splitAt(uint256 i) external view returns (Split memory) {
        return splits[i];
    }

    function partiesOf(uint256 i) external view returns (Party[] memory) {
        return members[i];
    }

    function offsetsOf(uint256 i) external view returns (uint256[] memory) {
        return offsets[i];
    }

    function splitIndexOf(uint256 tariff) external view returns (uint256) {
        return splitOfTariff[tariff];
    }

    function partyKey(uint256 s, uint256 p) internal pure returns (uint256) {
        return 0xA0000 + 0x100 * s + p;
    }

    function signerAt(uint256 i) internal view returns (address) {
        return i < keys.length ? vm.addr(keys[i]) : address(contractSigner);
    }

    /* BUILDING */

    function addSplit(uint256 asset, uint256 size, uint128 unit) private {
        members.push();
        offsets.push();
        Party[] storage list = members[splits.length];
        uint256 offset = 0;
        for (uint256 p = 0; p < size; ++p) {
            address who = vm.addr(partyKey(splits.length, p));
            list.push(Party(who, uint8(1 + p), unit * uint128(1 + p * p)));
            offsets[splits.length].push(offset);
            offset += list[p].share;
        }
        (bytes32 root, uint256 total) = Plain.tree(list, 0, size);
        splits.push(Split(assets[asset], root, uint128(total)));
        splitKey.push(Plain.splitId(splits[splits.length - 1]));
    }

    function addTariff(uint256 split, uint256 provider, uint8 scale, uint32 thawPeriod) private {
        Tariff memory tariff;
        tariff.provider = providers[provider];
        tariff.splitId = splitKey[split];
        tariff.rates = Plain.rates([10 ** uint256(scale % 19), 3, 0, type(uint64).max, 1, 0, 2, 5]);
        tariff.scale = scale;
        tariff.thawPeriod = thawPeriod;
        tariff.terms = keccak256(abi.encode(tariffs.length));
        tariffs.push(tariff);
        tariffKey.push(Plain.tariffId(tariff));
        splitOfTariff.push(split);
    }
}
