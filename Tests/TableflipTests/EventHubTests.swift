// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

@testable import Tableflip

@Suite(.timeLimit(.minutes(5))) struct EventHubTests {
    @Test func `everybody who listens hears everything, in order`() async {
        let hub = EventHub()
        let streams = (0..<3).map { _ in hub.subscribe() }
        for number in 0..<100 { hub.emit(event(number)) }
        for stream in streams { #expect(await hear(100, from: stream) == Array(0..<100)) }
    }

    @Test func `the first who listens also hears what happened before`() async {
        let hub = EventHub()
        for number in 0..<10 { hub.emit(event(number)) }
        let first = hub.subscribe()
        let second = hub.subscribe()
        hub.emit(event(10))
        #expect(await hear(11, from: first) == Array(0...10))
        #expect(await hear(1, from: second) == [10])
    }

    @Test func `what nobody listens to is not collected for ever`() async {
        let hub = EventHub()
        for number in 0..<1000 { hub.emit(event(number)) }
        let stream = hub.subscribe()
        hub.emit(event(1000))
        #expect(await hear(65, from: stream) == Array(0..<64) + [1000])
    }

    @Test func `whoever falls behind misses the oldest`() async {
        let hub = EventHub()
        let stream = hub.subscribe()
        for number in 0..<1000 { hub.emit(event(number)) }
        #expect(await hear(256, from: stream) == Array(744..<1000))
    }

    @Test func `who no longer listens keeps nobody else from hearing`() async {
        let hub = EventHub()
        let stream = hub.subscribe()
        do { _ = hub.subscribe() }
        let cancelled = Task { [gone = hub.subscribe()] in await hear(1, from: gone) }
        cancelled.cancel()
        #expect(await cancelled.value == [])
        hub.emit(event(1))
        #expect(await hear(1, from: stream) == [1])
    }

    @Test func `who is cancelled still hears what had happened by then, and no more`() async {
        let hub = EventHub()
        let stream = hub.subscribe()
        for number in 0..<100 { hub.emit(event(number)) }
        let late = Task {
            // Does not begin to read before it is cancelled.
            try? await Task.sleep(for: .seconds(100))
            return await hear(101, from: stream)
        }
        late.cancel()
        #expect(await late.value == Array(0..<100))
    }

    @Test func `listening and telling at once is safe`() async {
        let hub = EventHub()
        await withTaskGroup { group in
            for _ in 0..<4 {
                group.addTask { for number in 0..<200 { hub.emit(event(number)) } }
                group.addTask { for _ in 0..<50 { _ = hub.subscribe() } }
            }
        }
        let stream = hub.subscribe()
        hub.emit(event(7))
        #expect(await hear(1, from: stream) == [7])
    }
}

private func event(_ number: Int) -> UpgradeEvent {
    UpgradeEvent(phase: .requested, generation: 1, peer: Int32(number), elapsed: .zero)
}

/// The next events; fewer where the stream ends.
private func hear(_ count: Int, from events: UpgradeEvents) async -> [Int] {
    var heard: [Int] = []
    var iterator = events.makeAsyncIterator()
    while heard.count < count, let event = await iterator.next() { heard.append(Int(event.peer)) }
    return heard
}
