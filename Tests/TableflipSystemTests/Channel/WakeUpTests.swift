// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(5))) struct WakeUpTests {
    @Test func `a signal makes it readable until it is cleared`() throws {
        let wakeUp = try WakeUp()
        #expect(!readable(wakeUp.descriptor, within: .zero))
        wakeUp.signal()
        wakeUp.signal()
        #expect(readable(wakeUp.descriptor))
        #expect(wakeUp.clear() == [0, 0])
        #expect(!readable(wakeUp.descriptor, within: .zero))
        #expect(wakeUp.clear() == [])
    }

    @Test func `a full pipe blocks nobody and still wakes`() async throws {
        let wakeUp = try WakeUp()
        // More bytes than any pipe holds, from several threads at once.
        await withTaskGroup { group in
            for _ in 0..<4 {
                group.addTask { for _ in 0..<50_000 { wakeUp.signal() } }
            }
        }
        #expect(readable(wakeUp.descriptor, within: .zero))
        let count = wakeUp.clear().count
        #expect(count > 1000 && count < 200_000)
        #expect(!readable(wakeUp.descriptor, within: .zero))
    }

    @Test func `it is closed with its value`() async {
        await #expect(processExitsWith: .success) {
            let census = Census()
            do { _ = try WakeUp() }
            #expect(census.isClean)
        }
    }

    @Test func `a signal of the process arrives as its number, and does nothing else`() async {
        await #expect(processExitsWith: .success) {
            let wakeUp = try WakeUp(receiving: [SIGHUP, SIGTERM])
            kill(getpid(), SIGHUP)
            #expect(readable(wakeUp.descriptor))
            #expect(wakeUp.clear().map(WakeUp.Signal.init).map(\.number) == [SIGHUP])
            kill(getpid(), SIGTERM)
            #expect(readable(wakeUp.descriptor))
            #expect(wakeUp.clear().map(WakeUp.Signal.init).map(\.number) == [SIGTERM])
        }
    }

    @Test func `the signals of one process can be told from those of others`() async {
        await #expect(processExitsWith: .success) {
            let wakeUp = try WakeUp(receiving: [SIGTERM])
            // An id that is not this process's, and its own.
            for (marked, isMarked) in [(getppid(), false), (getpid(), true), (nil, false)] as [(pid_t?, Bool)] {
                WakeUp.markSignals(of: marked)
                kill(getpid(), SIGTERM)
                #expect(readable(wakeUp.descriptor))
                let signals = wakeUp.clear().map(WakeUp.Signal.init)
                #expect(signals.map(\.number) == [SIGTERM] && signals.map(\.isMarked) == [isMarked])
                #expect(signals.map(\.isOfParent) == [false])
            }
        }
    }

    #if os(Linux)
    @Test func `every signal keeps its number`() async {
        await #expect(processExitsWith: .success) {
            for signal in [SIGHUP, SIGTERM, SIGTTIN, SIGSYS, 35, 63, 64] {
                let wakeUp = try WakeUp(receiving: [signal])
                WakeUp.markSignals(of: getpid())
                kill(getpid(), signal)
                #expect(readable(wakeUp.descriptor))
                #expect(wakeUp.clear().map(WakeUp.Signal.init).map(\.number) == [signal])
            }
        }
    }
    #endif

    @Test func `a signal that cannot be caught is refused`() async {
        await #expect(processExitsWith: .success) {
            #expect(throws: SystemCallError("sigaction", EINVAL)) { _ = try WakeUp(receiving: [SIGKILL]) }
        }
    }
}
