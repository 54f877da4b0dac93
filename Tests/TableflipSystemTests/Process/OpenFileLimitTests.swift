// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

/// Limits belong to a whole process: each of these tests has one of its own.
@Suite(.timeLimit(.minutes(5))) struct OpenFileLimitTests {
    @Test func `the limit is raised for what is about to arrive, and for what the process opens itself`() async {
        await #expect(processExitsWith: .success) {
            try OpenFileLimit.current.with(soft: 128).set()
            OpenFileLimit.makeRoom(for: 100)
            #expect(try OpenFileLimit.current.soft == 612)
        }
    }

    @Test func `a limit that is high enough is left alone`() async {
        await #expect(processExitsWith: .success) {
            try OpenFileLimit.current.with(soft: 900).set()
            OpenFileLimit.makeRoom(for: 10)
            #expect(try OpenFileLimit.current.soft == 900)
        }
    }

    @Test func `the limit is not raised above the hard one`() async {
        await #expect(processExitsWith: .success) {
            try OpenFileLimit(soft: 200, hard: 300).set()
            OpenFileLimit.makeRoom(for: 10_000)
            #expect(try OpenFileLimit.current == OpenFileLimit(soft: 300, hard: 300))
        }
    }
}
