// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation
import Synchronization
import Tableflip

/// The folder of whoever started the server, and holds the other end of its standard input. That ends with them, however
/// they end, and every generation has it.
final class Scratch: Sendable {
    private let folder: String
    private let hasEnded = Atomic(false)

    init(folder: String, stopping upgrader: Upgrader) {
        self.folder = folder
        Thread.detachNewThread {
            var byte: UInt8 = 0
            while case let count = read(0, &byte, 1), count > 0 || (count < 0 && errno == EINTR) {}
            self.hasEnded.store(true, ordering: .releasing)
            upgrader.stop()
        }
    }

    /// To be called at the end of each generation. One that was replaced leaves the folder to the next.
    func remove() {
        guard self.hasEnded.load(ordering: .acquiring) else { return }
        try? FileManager.default.removeItem(atPath: self.folder)  // where another generation was faster, it is gone
    }
}
#endif  // NIO
