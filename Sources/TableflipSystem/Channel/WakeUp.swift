// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A pipe that wakes a thread out of poll(2).
package final class WakeUp: Sendable {
    private let pipe: Pipe

    package init() throws(SystemCallError) { self.pipe = try Pipe() }

    package var descriptor: CInt { self.pipe.reading.borrowed }

    /// May be called from any thread. A full pipe is as good as a byte in it.
    package func signal(_ byte: UInt8 = 0) {
        var byte = byte
        _ = write(self.pipe.writing.borrowed, &byte, 1)
    }

    /// Empties the pipe.
    /// - Returns: the bytes that were in it.
    @discardableResult
    package func clear() -> [UInt8] {
        var all: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 256)
        while true {
            let count = read(self.pipe.reading.borrowed, &bytes, bytes.count)
            guard count > 0 else { return all }
            all += bytes[..<count]
        }
    }

    /// A pipe in which each of these signals arrives as a byte (``Signal``), and does nothing else any more (sigaction(2)). It must
    /// live until ``stopReceiving(_:)``.
    package convenience init(receiving signals: [CInt]) throws(SystemCallError) {
        try self.init()
        let descriptor = self.pipe.writing.borrowed
        do throws(SystemCallError) {
            for signal in signals { try check("sigaction") { tf_signal_to_descriptor(signal, descriptor) } }
        } catch {
            Self.stopReceiving(signals)
            throw error
        }
    }

    /// A signal out of such a pipe.
    package struct Signal: Hashable, Sendable {
        package var number: CInt
        /// Sent by the process of ``markSignals(of:)``.
        package var isMarked: Bool
        /// Sent by whoever was this process's parent at that moment, as a service manager is.
        package var isOfParent: Bool

        package init(_ byte: UInt8) {
            self.number = CInt(byte & 0x3f) + 1
            self.isMarked = CInt(byte) & TF_SIGNAL_IS_MARKED != 0
            self.isOfParent = CInt(byte) & TF_SIGNAL_OF_PARENT != 0
        }
    }

    /// Tells the signals that this process sends from all others; nil: none is marked.
    package static func markSignals(of process: CInt?) { tf_mark_signals_of(process ?? 0) }

    /// Gives the signals their default actions again.
    package static func stopReceiving(_ signals: [CInt]) { for signal in signals { tf_signal_default(signal) } }
}
