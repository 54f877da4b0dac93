// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

@Suite struct WatchdogTests {
    @Test func `a time is a positive number of microseconds`() {
        #expect(Watchdog(microseconds: "2000000")?.timeout == .seconds(2))
        for text in [nil, "", "0", "-1", "2s"] { #expect(Watchdog(microseconds: text) == nil) }
    }
}
