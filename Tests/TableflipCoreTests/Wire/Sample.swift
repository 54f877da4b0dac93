// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

/// A message with a name, for tests that go through all of them.
struct Sample: Sendable, CustomTestStringConvertible {
    var name: String
    var message: Message

    init(_ name: String, _ message: Message) {
        self.name = name
        self.message = message
    }

    var testDescription: String { self.name }
}

extension Sample {
    /// One or two of each kind, small enough to be taken apart byte by byte. Each has a fixture of its name.
    static let all: [Sample] = [
        Sample(
            "hello",
            .hello(
                .init(
                    versions: ProtocolVersion(rawValue: 1)...ProtocolVersion(rawValue: 3), generation: 7, process: 4242,
                    features: 0x8000_0000_0000_0001, label: "swift-tableflip 0.1"
                )
            )
        ),
        Sample(
            "offer",
            .offer(
                .init(
                    stage: .initial, first: 2, total: 7,
                    entries: [
                        .init(name: "web", kind: .listener, address: "tcp://[::1]:8080"),
                        .init(name: "dns", kind: .datagram, address: "udp://127.0.0.1:53"),
                        .init(name: "café", kind: .connection, address: ""),
                        .init(name: "log", kind: .file, address: ""),
                        .init(name: "sessions", kind: .state, address: "", version: 0x0203),
                    ]
                )
            )
        ),
        Sample("offer-empty", .offer(.init(stage: .initial, first: 0, total: 0, entries: []))),
        Sample(
            "offer-final",
            .offer(
                .init(
                    stage: .final, first: 0, total: 1,
                    entries: [.init(name: "cache", kind: .state, address: "", version: 1)]
                )
            )
        ),
        Sample(
            "ready",
            .ready(
                .init(
                    digest: 0x0123_4567_89ab_cdef, claimed: [true, false, true, true, false, false, false, true, true],
                    fresh: 2, probation: .timed, probationMilliseconds: 1500
                )
            )
        ),
        Sample(
            "ready-first",
            .ready(
                .init(
                    digest: 0xcbf2_9ce4_8422_2325, claimed: [], fresh: 0, probation: .checked, probationMilliseconds: 0
                )
            )
        ),
        Sample("terms", .terms(.init(probationMilliseconds: 1500))),
        Sample("ping", .ping),
        Sample("pong", .pong),
        Sample("draining", .draining(.init(left: 7))),
        Sample("taken", .taken(.init(connections: 300))),
        Sample(
            "fresh",
            .fresh(
                .init(
                    entries: [
                        .init(name: "admin", kind: .listener, address: "unix:/run/admin.sock"),
                        .init(name: "cache", kind: .state, address: "", version: 3),
                    ]
                )
            )
        ),
        Sample("keep", .keep(.init(listeners: [0, 300]))),
        Sample(
            "paths",
            .paths(
                .init(
                    files: [
                        .init(index: 0, device: 0xfd01, inode: 0x0123_4567_89ab_cdef),
                        .init(index: 300, device: .max, inode: 2),
                    ]
                )
            )
        ),
        Sample("go", .go),
        Sample("commit", .commit),
        Sample("committed", .committed),
        Sample(
            "connection",
            .connections(
                .init(
                    announced: 300,
                    entries: [
                        .init(listener: "web", unread: Array("GET / HT".utf8), state: [0, 255, 1]),
                        .init(listener: "", unread: [], state: []),
                    ]
                )
            )
        ),
        Sample(
            "abort",
            .abort(
                .init(code: "pauseFailed", message: "a reader did not pause — in time", cure: "Raise pauseTimeout.")
            )
        ),
        Sample("bye", .bye(.init(moved: 1, drained: 0x0102_0304))),
        Sample("ack-initial", .acknowledgement(.init(.initialOffer, received: 253))),
        Sample("ack-final", .acknowledgement(.init(.finalOffer, received: 0))),
        Sample("ack-connections", .acknowledgement(.init(.connections, received: .max))),
    ]

    /// Everything at its limit.
    static let extremes: [Sample] = {
        let highest = ProtocolVersion(rawValue: 0)...ProtocolVersion(rawValue: .max)
        let name = String(repeating: "n", count: WireLimit.name)
        let full = UInt32(WireLimit.inventory)
        let words = String(repeating: "w", count: WireLimit.words)
        let longest = InventoryEntry(
            name: name, kind: .state, address: String(repeating: "a", count: WireLimit.address), version: .max
        )
        let blob = (0..<WireLimit.connectionState).map { UInt8(truncatingIfNeeded: $0) }
        let file = Message.Paths.File(index: UInt32(WireLimit.inventory - 1), device: .max, inode: .max)
        func ready(_ claimed: Int) -> Sample {
            let bits = (0..<claimed).map { $0 % 3 != 0 }
            return Sample(
                "ready with \(claimed) entries",
                .ready(
                    .init(digest: .max, claimed: bits, fresh: .max, probation: .none, probationMilliseconds: .max)
                )
            )
        }
        return [
            Sample(
                "the greatest hello",
                .hello(
                    .init(
                        versions: highest, generation: .max - 1, process: .max, features: .max,
                        label: String(repeating: "l", count: WireLimit.label)
                    )
                )
            ),
            Sample("the least hello", .hello(.init(generation: 1, process: .min, label: ""))),
            Sample(
                "the greatest offer",
                .offer(
                    .init(
                        stage: .final, first: full - 253, total: full,
                        entries: Array(repeating: longest, count: FrameHeader.maximumDescriptors)
                    )
                )
            ),
            ready(1), ready(7), ready(8), ready(9), ready(WireLimit.inventory),
            Sample(
                "253 connections",
                .connections(
                    .init(
                        announced: .max,
                        entries: Array(repeating: .init(listener: name, unread: [1], state: []), count: 253)
                    )
                )
            ),
            Sample("no connection", .connections(.init(announced: 0, entries: []))),
            Sample(
                "the greatest connection",
                .connections(.init(announced: 1, entries: [.init(listener: name, unread: blob, state: blob)]))
            ),
            Sample("the longest abort", .abort(.init(code: name, message: words, cure: words))),
            Sample("the shortest abort", .abort(.init(code: "", message: "", cure: ""))),
            Sample("the longest terms", .terms(.init(probationMilliseconds: .max))),
            Sample("a bye of nothing", .bye(.init())),
            Sample("the longest drain", .draining(.init(left: .max))),
            Sample("the most connections taken", .taken(.init(connections: .max))),
            Sample("the most anew", .fresh(.init(entries: Array(repeating: longest, count: WireLimit.fresh)))),
            Sample("nothing anew", .fresh(.init(entries: []))),
            Sample("the most to keep", .keep(.init(listeners: Array(repeating: .max, count: WireLimit.keep)))),
            Sample("nothing to keep", .keep(.init(listeners: []))),
            Sample("the most paths", .paths(.init(files: Array(repeating: file, count: WireLimit.paths)))),
            Sample("no path", .paths(.init(files: []))),
        ]
    }()
}

extension [UInt8] {
    /// A frame from its parts, however wrong they are.
    static func frame(
        kind: UInt8, flags: UInt8 = 0, descriptors: Int = 0, reserved: UInt16 = 0, length: Int? = nil,
        magic: UInt16 = FrameHeader.magic, _ payload: (inout ByteWriter) -> Void = { _ in }
    ) -> [UInt8] {
        var body = ByteWriter()
        payload(&body)
        var frame = ByteWriter()
        frame.write(magic)
        frame.write(kind)
        frame.write(flags)
        frame.write(UInt16(descriptors))
        frame.write(reserved)
        frame.write(UInt32(length ?? body.bytes.count))
        frame.append(body.bytes)
        return frame.bytes
    }
}

extension FrameDecoder {
    /// Decodes one whole frame.
    static func decode(_ bytes: [UInt8]) throws(WireError) -> Frame? {
        var decoder = FrameDecoder()
        decoder.append(bytes)
        return try decoder.next()
    }

    /// What is wrong with it; nil if nothing is.
    static func refusal(of bytes: [UInt8]) -> WireError? {
        do throws(WireError) {
            _ = try Self.decode(bytes)
            return nil
        } catch {
            return error
        }
    }
}
