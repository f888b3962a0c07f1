// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Split, Tariff} from "../types/Structs.sol";

/// @title Ids
/// @notice Splits and tariffs travel in calldata; only these hashes of them are keys (protocol sections 5 and 6).
library Ids {
    function id(Split calldata split) internal pure returns (bytes32) {
        return keccak256(abi.encode(split));
    }

    function id(Tariff calldata tariff) internal pure returns (bytes32) {
        return keccak256(abi.encode(tariff));
    }
}
