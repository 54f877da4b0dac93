// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// What a successor does wrong, by a word and its parameter: `exit 3`, `hang`, `send 00ff`.
struct Misbehaviour {
    var word: String
    var parameter: String

    /// The line of the file; nil where there is none, or this is the first process.
    init?(file: String?) {
        guard let file, ProcessEnvironment.value(of: ProcessEnvironment.channelVariable) != nil else { return nil }
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        let owned = OwnedDescriptor(takingOwnershipOf: descriptor)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(owned.borrowed, &bytes, bytes.count)
        let line = String(decoding: bytes[..<max(0, count)], as: UTF8.self).split(separator: "\n").first ?? ""
        let parts = line.split(separator: " ", maxSplits: 1)
        guard let word = parts.first else { return nil }
        self.word = String(word)
        self.parameter = parts.count > 1 ? String(parts[1]) : ""
    }

    /// Before the library has started.
    func early() {
        switch self.word {
        case "exit": exit(CInt(self.parameter) ?? 0)
        case "kill": self.die()
        case "hang": self.hang()
        case "wait": Fifo.takeByte(from: self.parameter)
        case "close-channel":
            close(ProcessEnvironment.channelNumber)
            self.hang()
        case "say": self.send()  // bytes in hexadecimal, before what the library says
        case "send":  // bytes in hexadecimal, then nothing more
            self.send()
            self.hang()
        case "send-with-descriptor":
            self.send(descriptors: [0])
            self.hang()
        case "send-with-descriptors":
            self.send(descriptors: [0, 1])
            self.hang()
        case "send-and-exit":
            self.send()
            exit(0)
        case "listen-send-and-exit":  // as above, once the predecessor's hello is out of the socket
            var bytes = [UInt8](repeating: 0, count: 4096)
            _ = read(ProcessEnvironment.channelNumber, &bytes, bytes.count)
            self.send()
            exit(0)
        default: break
        }
    }

    /// Between the upgrader and `ready()`.
    func late() async {
        switch self.word {
        case "late-exit": exit(CInt(self.parameter) ?? 0)
        case "late-kill": self.die()
        case "late-hang": self.hang()
        case "late-wait": await Fifo.awaitByte(from: self.parameter)
        case "late-say": self.send()
        case "late-send":
            self.send()
            self.hang()
        case "late-close-channel":
            self.closeChannel()
            self.hang()
        default: break
        }
    }

    /// No misdeed: a named pipe that its readers wait for before they have paused.
    var slowPause: String? { self.word == "slow-pause" ? self.parameter : nil }

    /// The check of its probation.
    func check() async throws {
        switch self.word {
        case "fail-check": throw Unwell(description: self.parameter)
        // What comes after ready must come before the end of the probation.
        case "hang-check", "kill-after-ready", "close-channel-after-ready": try await Task.sleep(for: .seconds(3600))
        default: break
        }
    }

    private struct Unwell: Error, CustomStringConvertible { var description: String }

    /// After `ready()` has returned.
    func afterReady() {
        switch self.word {
        case "kill-after-ready": self.die()
        case "close-channel-after-ready": self.closeChannel()
        default: break
        }
    }

    /// poll(2) keeps the socket until it returns: the library has to be woken. What the predecessor says does not do it where
    /// something else has been opened under this number meanwhile.
    private func closeChannel() {
        close(ProcessEnvironment.channelNumber)
        kill(getpid(), SIGHUP)
    }

    /// The parameter's bytes, past the library.
    private func send(descriptors: [CInt] = []) {
        let digits = Array(self.parameter.utf8)
        let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
        _ = tf_send(ProcessEnvironment.channelNumber, bytes, bytes.count, descriptors, descriptors.count)
    }

    /// By a signal. It may arrive on another thread first: this one does not go on meanwhile.
    private func die() -> Never {
        kill(getpid(), CInt(self.parameter) ?? SIGKILL)
        self.hang()
    }

    /// Until somebody ends it. The loop is for signals that are handled.
    private func hang() -> Never { while true { pause() } }
}
