// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What the two processes say to each other. `docs/protocol.md` has the bytes and who may say what when.
///
/// Descriptors travel beside a message and are owned by whoever holds the frame; a message only knows how many.
package enum Message: Hashable, Sendable {
    case hello(Hello)
    case offer(Offer)
    case acknowledgement(Acknowledgement)
    case terms(Terms)
    case ready(Ready)
    case go
    case commit
    case committed
    case connections(ConnectionBatch)
    case abort(Abort)
    case bye(Bye)
    /// Are you there? Answered at once, by a peer that has said that it does.
    case ping
    case pong
    /// How far the predecessor is with its drain: for those who watch, to a peer that has said that it hears it.
    case draining(Draining)
    /// What the successor has made anew, right before ready: to a peer that has said that it wants to know.
    case fresh(Fresh)
    /// Whose connections the predecessor is to keep, right before ready.
    case keep(Keep)
    /// Whose files the Unix paths in the inventory are: before the first offer.
    case paths(Paths)
    /// How many connections the successor has taken out of a channel from which it can read no more.
    case taken(Taken)
    /// From a newer peer, marked as something that may be passed over.
    case unknown(kind: UInt8)

    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case hello = 1
        case offer = 2
        case ready = 3
        case go = 4
        case commit = 5
        case committed = 6
        case connections = 7
        case abort = 8
        case bye = 9
        case acknowledgement = 10
        case terms = 11
        case ping = 12
        case pong = 13
        case draining = 14
        case fresh = 15
        case keep = 16
        case paths = 17
        case taken = 18
    }

    /// The first message from either side, in a layout that no version changes. One descriptor travels with it, which
    /// polls readable or hung up when the sender is dead.
    package struct Hello: Hashable, Sendable {
        package var versions: ClosedRange<ProtocolVersion>
        /// The sender's own, counted from 1. A successor says its predecessor's plus one.
        package var generation: UInt32
        /// For people to read. No signal is ever sent on the strength of it.
        package var process: Int32
        /// Bits for what a sender can beyond its version: ``answersPings``, ``hearsDraining``, ``hearsFresh``.
        package var features: UInt64
        package static let answersPings: UInt64 = 1
        package static let hearsDraining: UInt64 = 2
        package static let hearsFresh: UInt64 = 4
        /// Name and version of the sender's library, for people.
        package var label: String

        package init(
            versions: ClosedRange<ProtocolVersion> = ProtocolVersion.supported, generation: UInt32, process: Int32,
            features: UInt64 = 0, label: String = "swift-tableflip"
        ) {
            self.versions = versions
            self.generation = generation
            self.process = process
            self.features = features
            self.label = label
        }
    }

    /// What this upgrade is to be like, where that is not as the successor is configured. May be passed over: a successor
    /// that has not taken it says another probation at ready.
    package struct Terms: Hashable, Sendable {
        /// How long the probation lasts; 0 is none.
        package var probationMilliseconds: UInt64

        package init(probationMilliseconds: UInt64) { self.probationMilliseconds = probationMilliseconds }
    }

    /// A batch of the inventory, with one descriptor per entry.
    package struct Offer: Hashable, Sendable {
        package enum Stage: UInt8, Hashable, Sendable {
            /// At the start: everything there is.
            case initial = 0
            /// Between pause and go: what could only be known now.
            case final = 1
        }
        package var stage: Stage
        /// The index of the first entry of this batch.
        package var first: UInt32
        /// How many entries this stage has in all.
        package var total: UInt32
        package var entries: [InventoryEntry]

        package init(stage: Stage, first: UInt32, total: UInt32, entries: [InventoryEntry]) {
            self.stage = stage
            self.first = first
            self.total = total
            self.entries = entries
        }
    }

    /// A batch has been received, its descriptors are here.
    package struct Acknowledgement: Hashable, Sendable {
        package enum Subject: UInt8, Hashable, Sendable {
            case initialOffer = 0
            case finalOffer = 1
            case connections = 2
        }
        package var subject: Subject
        /// How many entries have been received so far.
        package var received: UInt32

        package init(_ subject: Subject, received: UInt32) {
            self.subject = subject
            self.received = received
        }
    }

    /// The successor has initialised.
    package struct Ready: Hashable, Sendable {
        /// Over what it claimed: see ``InventoryDigest``.
        package var digest: UInt64
        /// For each entry of the initial inventory whether it was claimed.
        package var claimed: [Bool]
        /// How many sockets it bound that its predecessor did not have.
        package var fresh: UInt32
        package var probation: Probation
        /// How long the probation lasts.
        package var probationMilliseconds: UInt64

        package init(
            digest: UInt64, claimed: [Bool], fresh: UInt32, probation: Probation, probationMilliseconds: UInt64
        ) {
            self.digest = digest
            self.claimed = claimed
            self.fresh = fresh
            self.probation = probation
            self.probationMilliseconds = probationMilliseconds
        }
    }

    /// Live connections, with one descriptor per entry.
    package struct ConnectionBatch: Hashable, Sendable {
        package struct Entry: Hashable, Sendable {
            /// The name of the listener that accepted it.
            package var listener: String
            /// What was read from it and not yet understood.
            package var unread: [UInt8]
            /// Whatever else the protocol on it must remember.
            package var state: [UInt8]

            package init(listener: String, unread: [UInt8], state: [UInt8]) {
                self.listener = listener
                self.unread = unread
                self.state = state
            }
        }
        /// How many connections may move in all, announced before the first one does.
        package var announced: UInt32
        package var entries: [Entry]

        package init(announced: UInt32, entries: [Entry]) {
            self.announced = announced
            self.entries = entries
        }
    }

    package struct Abort: Hashable, Sendable {
        /// ``UpgradeError/Code`` in its written form; unknown ones are fine.
        package var code: String
        package var message: String
        package var cure: String

        package init(code: String, message: String, cure: String) {
            self.code = code
            self.message = message
            self.cure = cure
        }
    }

    /// The predecessor's last word on the channel.
    package struct Bye: Hashable, Sendable {
        package var moved: UInt32
        package var drained: UInt32

        package init(moved: UInt32 = 0, drained: UInt32 = 0) {
            self.moved = moved
            self.drained = drained
        }
    }

    /// What the predecessor still serves.
    package struct Draining: Hashable, Sendable {
        /// Connections that have neither moved nor ended.
        package var left: UInt32

        package init(left: UInt32) { self.left = left }
    }

    /// What the predecessor does not have, by name: as many as are told of, of those that ready counts.
    package struct Fresh: Hashable, Sendable {
        package var entries: [InventoryEntry]

        package init(entries: [InventoryEntry]) { self.entries = entries }
    }

    /// Listeners whose connections nobody in the successor would serve: they do not move.
    package struct Keep: Hashable, Sendable {
        /// Where they stand in the initial inventory.
        package var listeners: [UInt32]

        package init(listeners: [UInt32]) { self.listeners = listeners }
    }

    /// The files that the predecessor knows for its own. What has a path and is not named here has none that is.
    package struct Paths: Hashable, Sendable {
        package struct File: Hashable, Sendable {
            /// Where it stands in the initial inventory.
            package var index: UInt32
            package var device: UInt64
            package var inode: UInt64

            package init(index: UInt32, device: UInt64, inode: UInt64) {
                self.index = index
                self.device = device
                self.inode = inode
            }
        }

        package var files: [File]

        package init(files: [File]) { self.files = files }
    }

    /// Of those that were sent, the first so many. The predecessor serves on what is not among them.
    package struct Taken: Hashable, Sendable {
        package var connections: UInt32

        package init(connections: UInt32) { self.connections = connections }
    }

    /// How many descriptors travel with it; nil where any number may.
    package var descriptorCount: Int? {
        switch self {
        case .hello: 1
        case .offer(let offer): offer.entries.count
        case .connections(let batch): batch.entries.count
        case .unknown: nil
        case .terms, .acknowledgement, .ready, .go, .commit, .committed, .abort, .bye, .ping, .pong, .draining,
            .fresh, .keep, .paths, .taken:
            0
        }
    }

    /// Whether a receiver that does not know it may pass over it.
    package var isOptional: Bool {
        switch self {
        case .terms, .ping, .pong, .draining, .fresh, .keep, .paths, .taken, .unknown: true
        default: false
        }
    }

    /// Its name, as the specification and the logs have it.
    package var name: String {
        switch self {
        case .hello: "hello"
        case .offer: "offer"
        case .acknowledgement: "ack"
        case .terms: "terms"
        case .ready: "ready"
        case .go: "go"
        case .commit: "commit"
        case .committed: "committed"
        case .connections: "connection"
        case .abort: "abort"
        case .bye: "bye"
        case .ping: "ping"
        case .pong: "pong"
        case .draining: "draining"
        case .fresh: "fresh"
        case .keep: "keep"
        case .paths: "paths"
        case .taken: "taken"
        case .unknown(let kind): "message \(kind)"
        }
    }
}
