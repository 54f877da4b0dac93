// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

/// Limits belong to a whole process: each of these tests has one of its own.
@Suite(.timeLimit(.minutes(2))) struct ResourceLimitsTests {
    @Test func `the limit is raised for what is about to arrive, and for what the process opens itself`() async {
        await #expect(processExitsWith: .success) {
            setDescriptorLimit(soft: 128)
            ResourceLimits.allowDescriptors(100)
            #expect(softDescriptorLimit() == 612)
        }
    }

    @Test func `a limit that is high enough is left alone`() async {
        await #expect(processExitsWith: .success) {
            setDescriptorLimit(soft: 900)
            ResourceLimits.allowDescriptors(10)
            #expect(softDescriptorLimit() == 900)
        }
    }

    @Test func `the limit is not raised above the hard one`() async {
        await #expect(processExitsWith: .success) {
            setDescriptorLimit(soft: 200, hard: 300)
            ResourceLimits.allowDescriptors(10_000)
            #expect(softDescriptorLimit() == 300)
        }
    }
}
