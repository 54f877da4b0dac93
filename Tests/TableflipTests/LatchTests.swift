// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import Testing

@testable import Tableflip

@Suite(.timeLimit(.minutes(5))) struct LatchTests {
    @Test func `a value is set once`() async {
        let latch = Latch<Int>()
        #expect(latch.current == nil)
        latch.set(1)
        latch.set(2)
        #expect(latch.current == 1)
        #expect(await latch.wait() == 1)
    }

    @Test func `all who wait get the value`() async {
        let latch = Latch<Int>()
        let sum = await withTaskGroup(of: Int?.self) { group in
            for _ in 0..<100 { group.addTask { await latch.wait() } }
            group.addTask {
                latch.set(7)
                return 0
            }
            return await group.reduce(0) { $0 + ($1 ?? -1000) }
        }
        #expect(sum == 700)
    }

    @Test func `of many who set it at once one wins, and all hear the same`() async {
        for _ in 0..<50 {
            let latch = Latch<Int>()
            let heard = await withTaskGroup(of: Int?.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        latch.set(number)
                        return await latch.wait()
                    }
                }
                return await group.reduce(into: Set<Int?>()) { $0.insert($1) }
            }
            #expect(heard.count == 1)
            #expect(heard.first == latch.current)
        }
    }

    @Test func `a task that is cancelled waits no longer`() async {
        let latch = Latch<Int>()
        let waiting = Task { await latch.wait() }
        let other = Task { await latch.wait() }
        waiting.cancel()
        #expect(await waiting.value == nil)
        #expect(latch.current == nil)
        // The others wait on.
        latch.set(3)
        #expect(await other.value == 3)
    }

    @Test func `a task that was cancelled before it waits does not wait`() async {
        let latch = Latch<Int>()
        let result = await Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await latch.wait()
        }.value
        #expect(result == nil)
    }

    @Test func `a task that was cancelled still gets a value that is there`() async {
        let latch = Latch<Int>()
        latch.set(5)
        let result = await Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await latch.wait()
        }.value
        #expect(result == 5)
    }

    /// Neither is resumed twice, which would stop the program, nor forgotten, which would hang the test.
    @Test func `cancelling and setting at once is answered once`() async {
        for _ in 0..<300 {
            let latch = Latch<Int>()
            let waiting = Task { await latch.wait() }
            async let setting: Void = Task { latch.set(1) }.value
            waiting.cancel()
            let heard = await waiting.value
            #expect(heard == nil || heard == 1)
            await setting
        }
    }

    @Test func `whoever is told may come back at once`() async {
        let latch = Latch<Int>()
        let seen = Mutex<[Int]>([])
        let waiting = Task {
            let value = await latch.wait() ?? -1
            // Were it told under the lock, this would never return.
            latch.set(9)
            seen.withLock { $0 = [value, latch.current ?? -1] }
        }
        latch.set(4)
        await waiting.value
        #expect(seen.withLock { $0 } == [4, 4])
    }
}
