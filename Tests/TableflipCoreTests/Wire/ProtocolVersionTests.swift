// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct ProtocolVersionTests {
    @Test(
        arguments: [
            (1...1, 1...1, 1), (1...3, 1...1, 1), (1...1, 1...3, 1), (1...3, 2...5, 3), (2...5, 1...3, 3),
            (1...9, 3...4, 4), (3...4, 1...9, 4), (2...2, 1...3, 2), (0...65535, 65535...65535, 65535),
            (1...1, 2...2, nil), (2...2, 1...1, nil), (1...2, 3...9, nil), (3...9, 1...2, nil), (0...0, 1...1, nil),
        ] as [(ClosedRange<UInt16>, ClosedRange<UInt16>, UInt16?)]
    )
    func `the highest version that both know is spoken`(
        _ ours: ClosedRange<UInt16>, _ theirs: ClosedRange<UInt16>, _ common: UInt16?
    ) {
        #expect(ProtocolVersion.common(ours.versions, theirs.versions)?.rawValue == common)
    }

    @Test func `this library speaks version 1`() {
        #expect(ProtocolVersion.supported == ProtocolVersion.one...ProtocolVersion.one)
        #expect(ProtocolVersion.one.rawValue == 1)
    }
}

extension ClosedRange<UInt16> {
    fileprivate var versions: ClosedRange<ProtocolVersion> {
        ProtocolVersion(rawValue: self.lowerBound)...ProtocolVersion(rawValue: self.upperBound)
    }
}
