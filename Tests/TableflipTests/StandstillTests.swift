// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

@testable import Tableflip

@Suite struct StandstillTests {
    private let begin = Moment.now

    @Test(
        arguments: [
            (nil, .seconds(1)), (.seconds(3600), .seconds(1)), (.milliseconds(300), .milliseconds(300)),
            (.zero, .zero),
        ] as [(Duration?, Duration)]
    )
    func `while a machine has a deadline no wait is long`(_ asked: Duration?, _ limit: Duration) {
        var standstill = Standstill(at: self.begin)
        #expect(standstill.wait(atMost: asked, isTimed: true) == limit)
        #expect(standstill.wait(atMost: asked, isTimed: false) == asked)
    }

    @Test(
        arguments: [
            (.zero, .zero), (.milliseconds(300), .zero), (.milliseconds(1300), .zero),
            (.milliseconds(1301), .milliseconds(1001)), (.seconds(3600), .milliseconds(3_599_700)),
        ] as [(Duration, Duration)]
    )
    func `what a wait takes beyond what was asked is a standstill, unless a busy machine explains it`(
        _ took: Duration, _ length: Duration
    ) {
        var standstill = Standstill(at: self.begin)
        _ = standstill.wait(atMost: .milliseconds(300), isTimed: true)
        let end = self.begin + took
        #expect(standstill.length(at: end) == length)
        // It is told once.
        #expect(standstill.length(at: end) == .zero)
    }

    @Test func `also between two waits a process can be stopped`() {
        var standstill = Standstill(at: self.begin)
        _ = standstill.wait(atMost: .seconds(1), isTimed: true)
        #expect(standstill.length(at: self.begin + .milliseconds(10)) == .zero)
        #expect(standstill.length(at: self.begin + .milliseconds(5010)) == .seconds(5))
        _ = standstill.wait(atMost: .seconds(1), isTimed: true)
        #expect(standstill.length(at: self.begin + .milliseconds(6010)) == .zero)
    }

    @Test func `what has no end takes as long as it takes`() {
        var standstill = Standstill(at: self.begin)
        _ = standstill.wait(atMost: nil, isTimed: false)
        #expect(standstill.length(at: self.begin + .seconds(3600)) == .zero)
    }
}
