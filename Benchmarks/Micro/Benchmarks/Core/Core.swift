// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Benchmark
import Foundation
import TableflipCore

/// As many entries as one message carries (unix(7): SCM_RIGHTS takes 253 descriptors).
private let batch: [InventoryEntry] = (0..<253).map {
    InventoryEntry(name: "listener \($0)", kind: .listener, address: "tcp 127.0.0.1:\(10_000 + $0)")
}
private let offer = Message.offer(.init(stage: .initial, first: 0, total: 253, entries: batch))
private let connections = Message.connections(
    .init(
        announced: 253,
        entries: (0..<253).map { number in
            .init(listener: "http", unread: Array(repeating: UInt8(number), count: 64), state: [1, 2, 3, 4])
        }
    )
)
private let small = Message.hello(.init(generation: 7, process: 4711))

/// What happens to a process that hands over, and to one that takes over, when all goes well.
private let predecessorEvents: [PredecessorMachine.Event] = [
    .becameOwner(predecessorLives: false), .upgradeRequested, .spawned, .greeted, .inventoryAcknowledged,
    .reportedReady(agreed: true, .none), .readersPaused, .ownershipGivenUp, .reportedCommitted,
]
private let successorEvents: [SuccessorMachine.Event] = [
    .greeted, .inventoryComplete, .readied, .went, .readersResumed, .checkPassed, .commitReceived, .ownershipTaken,
]

let benchmarks: @Sendable () -> Void = {
    let isQuick = ProcessInfo.processInfo.environment["TABLEFLIP_QUICK"] != nil
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock], warmupIterations: 10, scalingFactor: .one,
        maxDuration: isQuick ? .milliseconds(50) : .seconds(1), maxIterations: 20_000
    )

    // The floor of each codec row: its bytes, copied once.
    for (name, message) in [("hello", small), ("offer of 253", offer), ("253 connections", connections)] {
        let frame = message.encoded()
        Benchmark("encode \(name)") { benchmark in
            for _ in benchmark.scaledIterations { blackHole(message.encoded()) }
        }
        Benchmark("decode \(name)") { benchmark in
            for _ in benchmark.scaledIterations {
                var decoder = FrameDecoder()
                decoder.append(frame)
                blackHole(try decoder.next())
            }
        }
        Benchmark("copy \(name)") { benchmark in
            for _ in benchmark.scaledIterations {
                blackHole(
                    [UInt8](unsafeUninitializedCapacity: frame.count) { target, count in
                        target.baseAddress?.initialize(from: frame, count: frame.count)
                        count = frame.count
                    })
            }
        }
    }

    Benchmark("digest of 253") { benchmark in
        for _ in benchmark.scaledIterations {
            var digest = InventoryDigest()
            for (index, entry) in batch.enumerated() { digest.combine(entry, identity: UInt64(index)) }
            blackHole(digest)
        }
    }

    Benchmark("upgrade, predecessor's machine") { benchmark in
        for _ in benchmark.scaledIterations {
            var machine = PredecessorMachine()
            for event in predecessorEvents { blackHole(machine.handle(event)) }
        }
    }
    Benchmark("upgrade, successor's machine") { benchmark in
        for _ in benchmark.scaledIterations {
            var machine = SuccessorMachine(hasPredecessor: true)
            for event in successorEvents { blackHole(machine.handle(event)) }
        }
    }
}
