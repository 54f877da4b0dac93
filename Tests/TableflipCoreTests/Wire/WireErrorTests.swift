// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct WireErrorTests {
    /// They end sentences that begin with "the successor sent".
    @Test(
        arguments: [
            (.notAFrame(0x5448), "bytes that are no frame (they begin with 0x5448)"),
            (.reservedBitsSet, "a frame with reserved bits set"),
            (.tooLong(kind: 2, length: 9_000_000), "a frame of kind 2 that claims 9000000 bytes; the limit is 1048576"),
            (.tooManyDescriptors(254), "a frame that claims 254 descriptors"),
            (.unknownRequired(kind: 11), "a required message of the unknown kind 11"),
            (.truncated(kind: 3), "a frame of kind 3 that ends inside a field"),
            (.trailingBytes(kind: 4, count: 2), "a frame of kind 4 with 2 bytes too many"),
            (.invalidValue(kind: 2, field: "name"), "a frame of kind 2 with an invalid name"),
            (
                .descriptorsMissing(kind: 1, expected: 1, arrived: 0),
                "a frame of kind 1 with 0 descriptors where 1 belong"
            ),
            (.descriptorsUndeclared(3), "3 descriptors that no frame declared"),
            (.descriptorsDropped, "more descriptors than this process may have open (RLIMIT_NOFILE)"),
            (.endedInsideFrame, "the end of the channel inside a frame"),
        ] as [(WireError, String)]
    )
    func `an error says what was sent`(_ error: WireError, _ words: String) {
        #expect(error.description == words)
    }
}
