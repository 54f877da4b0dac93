// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

@Suite struct CStringsTests {
    @Test func `many long strings are lent and copied exactly`() {
        expectSame(Array(repeating: Array(repeating: 255, count: 1000), count: 300))
    }

    @Test(
        arguments: [
            [], [[]], [[], [], []], [[1]], [Array("a=b".utf8), [], [0xff, 0xfe, 0x80], Array("é".utf8)],
        ] as [[[UInt8]]]
    )
    func `strings are lent and copied exactly, whatever their bytes`(_ strings: [[UInt8]]) { expectSame(strings) }

    private func expectSame(_ strings: [[UInt8]]) {
        let lent = CStrings(strings)
        let copied = lent.withList { CStrings(copying: $0) }
        #expect(copied.strings == strings)
        #expect(copied == lent)
    }

    @Test func `undecodable bytes are replaced for people only`() {
        let strings = CStrings([Array("fine".utf8), [0x61, 0xff, 0x62]])
        #expect(strings.texts == ["fine", "a\u{fffd}b"])
        #expect(strings.strings[1] == [0x61, 0xff, 0x62])
    }
}
