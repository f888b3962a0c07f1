// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Signatures
/// @notice Whether someone signed a digest (protocol section 8). The key comes first, whatever the code: an account under
/// EIP-7702 delegation keeps its key. A high s, another v than 27 and 28, another length: nobody's signature.
library Signatures {
    uint256 private constant COMPACT_BYTES = 64;

    /// @notice By its key, in 65 bytes (r, s, v) or in the 64 of EIP-2098, or else by its code (ERC-1271).
    function isBy(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        bool byKey;
        if (signature.length == COMPACT_BYTES) {
            byKey = isByKey(signer, digest, bytes32(signature[:32]), bytes32(signature[32:]));
        } else {
            (address found, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, signature);
            byKey = failure == ECDSA.RecoverError.NoError && found == signer;
        }
        return byKey || SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature);
    }

    /// @notice By its key alone, in the two words of EIP-2098: the highest bit of `vs` says which v it is.
    function isByKey(address signer, bytes32 digest, bytes32 r, bytes32 vs) internal pure returns (bool) {
        (address found, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, r, vs);
        return failure == ECDSA.RecoverError.NoError && found == signer;
    }
}
