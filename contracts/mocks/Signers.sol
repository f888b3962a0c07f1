// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// Contract signers (ERC-1271) with the habits that real ones have, for tests.

/// @notice Accepts the digests that it was told to accept, whatever the signature; can change its mind.
contract ListSigner is IERC1271 {
    mapping(bytes32 digest => bool) public accepted;

    function accept(bytes32 digest, bool accepted_) external {
        accepted[digest] = accepted_;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return accepted[digest] ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// @notice Accepts what two keys signed, one signature after the other: a meter with a payer's countersignature.
contract PairSigner is IERC1271 {
    address public immutable FIRST;
    address public immutable SECOND;

    constructor(address first, address second) {
        FIRST = first;
        SECOND = second;
    }

    function isValidSignature(bytes32 digest, bytes calldata signatures) external view returns (bytes4) {
        bool both = signatures.length == 130 && _signed(FIRST, digest, signatures[:65])
            && _signed(SECOND, digest, signatures[65:]);
        return both ? IERC1271.isValidSignature.selector : bytes4(0);
    }

    function _signed(address key, bytes32 digest, bytes calldata signature) private pure returns (bool) {
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        return ecrecover(digest, uint8(signature[64]), r, s) == key;
    }
}

/// @notice Reverts.
contract RevertingSigner is IERC1271 {
    error Unwilling();

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        revert Unwilling();
    }
}

/// @notice Burns all gas that it gets.
contract BurningSigner is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        assembly ("memory-safe") {
            invalid()
        }
    }
}

/// @notice Answers whatever bytes it was told to.
contract GarbageSigner {
    bytes public answer;

    function say(bytes calldata answer_) external {
        answer = answer_;
    }

    fallback() external {
        bytes memory data = answer;
        assembly ("memory-safe") {
            return(add(data, 0x20), mload(data))
        }
    }
}
