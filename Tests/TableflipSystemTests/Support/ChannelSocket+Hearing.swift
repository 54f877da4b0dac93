// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// What a channel handed over, with what was seen of the descriptors before they were closed.
enum Heard: Equatable {
    struct Descriptor: Equatable {
        var inode: UInt64
        var isCloseOnExec: Bool
    }

    case message(Message, [Descriptor])
    case violation(WireError)
    case ended
    case failed(SystemCallError)

    var message: Message? {
        if case .message(let message, _) = self { message } else { nil }
    }
}

extension ChannelSocket {
    /// A connected pair of channels.
    static func connected(_ capabilities: Capabilities) throws -> (ours: ChannelSocket, theirs: ChannelSocket) {
        let pair = try ChannelSocket.pair()
        return (
            ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: capabilities),
            ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.theirs), capabilities: capabilities)
        )
    }

    /// Everything that arrives until nothing more can. An end may be late: a program that another test is just starting
    /// has a copy of the other end for a moment.
    func hearToTheEnd() -> [Heard] {
        var all: [Heard] = []
        while readable(self.descriptor) {
            all += self.hear()
            switch all.last {
            case .violation, .ended, .failed: return all
            default: continue
            }
        }
        return all
    }

    /// Everything that has arrived. The descriptors are looked at and closed.
    func hear() -> [Heard] {
        var all: [Heard] = []
        self.receive { arrival in
            switch consume arrival {
            case .message(let message, var descriptors):
                var seen: [Heard.Descriptor] = []
                while let descriptor = descriptors.takeFirst() {
                    let inode = (try? DescriptorFacts(of: descriptor.borrowed))?.inode ?? 0
                    seen.append(.init(inode: inode, isCloseOnExec: isCloseOnExec(descriptor.borrowed)))
                }
                all.append(.message(message, seen))
            case .violation(let error): all.append(.violation(error))
            case .ended: all.append(.ended)
            case .failed(let error): all.append(.failed(error))
            }
        }
        return all
    }
}

extension Message {
    /// An offer that carries `count` descriptors.
    static func offer(_ count: Int, first: Int = 0, total: Int? = nil) -> Message {
        let entries = (first..<first + count).map { InventoryEntry(name: "file \($0)", kind: .file, address: "") }
        return .offer(
            .init(stage: .initial, first: UInt32(first), total: UInt32(total ?? first + count), entries: entries)
        )
    }
}
