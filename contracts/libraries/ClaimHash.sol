// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimAuthorization} from "../types/Structs.sol";

/// @title ClaimHash
/// @notice EIP-712 type and struct hash of the consent that a party signs (protocol section 5).
library ClaimHash {
    bytes32 internal constant CLAIM_AUTHORIZATION_TYPEHASH = keccak256(
        "ClaimAuthorization(bytes32 splitId,uint256 offset,address account,address recipient,uint256 nonce,uint256 deadline)"
    );

    /// @return The struct hash, to be put under a domain.
    function hash(ClaimAuthorization calldata authorization) internal pure returns (bytes32) {
        return keccak256(abi.encode(CLAIM_AUTHORIZATION_TYPEHASH, authorization));
    }
}
