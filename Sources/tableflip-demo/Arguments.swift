// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Tableflip

extension Duration {
    /// `300ms`, `2s`, `1.5s`, `1m`; up to a year, with which everybody's clock can reckon.
    init?(words: String) {
        let units: [(suffix: String, seconds: Double)] = [
            ("ms", 0.001), ("us", 0.000_001), ("s", 1), ("m", 60), ("h", 3600),
        ]
        for unit in units where words.hasSuffix(unit.suffix) {
            guard let number = Double(words.dropLast(unit.suffix.count)), case let seconds = number * unit.seconds,
                (0...365 * 86_400).contains(seconds)
            else { return nil }
            self = .seconds(seconds)
            return
        }
        return nil
    }

    var milliseconds: Double {
        Double(self.components.seconds) * 1e3 + Double(self.components.attoseconds) / 1e15
    }
}

/// A time on the command line.
struct DurationArgument: ExpressibleByArgument {
    var duration: Duration

    init?(argument: String) {
        guard let duration = Duration(words: argument) else { return nil }
        self.duration = duration
    }

    init(_ duration: Duration) { self.duration = duration }

    /// As it would be written.
    var defaultValueDescription: String {
        self.duration < .seconds(1) && self.duration > .zero
            ? "\(Int(self.duration.milliseconds))ms" : "\(self.duration.components.seconds)s"
    }
}

/// A number of bytes on the command line: `64M`, `1G`, `4096`.
struct SizeArgument: ExpressibleByArgument {
    var bytes: Int

    init?(argument: String) {
        let units: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
        let unit = argument.last.flatMap { units[$0] }
        guard let number = Int(unit == nil ? argument : String(argument.dropLast())), number >= 0 else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
        guard !overflow else { return nil }
        self.bytes = bytes
    }
}

/// `HOST:PORT` on the command line; an IPv6 host in brackets.
struct AddressArgument: ExpressibleByArgument {
    static let standard = AddressArgument(address: .tcp(host: "127.0.0.1", port: 8080), host: "127.0.0.1", port: 8080)

    var address: Tableflip.SocketAddress
    var host: String
    var port: Int

    private init(address: Tableflip.SocketAddress, host: String, port: Int) {
        self.address = address
        self.host = host
        self.port = port
    }

    var defaultValueDescription: String { "\(self.host):\(self.port)" }

    init?(argument: String) {
        guard let address = Tableflip.SocketAddress("tcp://" + argument), let colon = argument.lastIndex(of: ":"),
            let port = Int(argument[argument.index(after: colon)...])
        else { return nil }
        self.address = address
        self.host = String(argument[..<colon]).trimmingPrefix("[").description
        if self.host.last == "]" { self.host.removeLast() }
        self.port = port
    }
}
#endif  // NIO
