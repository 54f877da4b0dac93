// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// A response of HTTP/1, taken apart.
struct Answer: Equatable {
    var version: String
    var status: Int
    /// Names in small letters.
    var headers: [String: String]
    var body: [UInt8] = []

    var isChunked: Bool { self.headers["transfer-encoding"] == "chunked" }
    var saysClose: Bool { self.headers["connection"]?.lowercased() == "close" }
    var text: String { String(decoding: self.body, as: UTF8.self) }

    /// From a head without its empty line.
    init(head: String) throws {
        let lines = head.split(separator: "\r\n", omittingEmptySubsequences: false)
        let words = lines[0].split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
            throw Unexpected("no status line: \(lines[0].prefix(80).debugDescription)")
        }
        self.version = String(words[0])
        self.status = status
        self.headers = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw Unexpected("no header: \(line.debugDescription)") }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            self.headers[line[..<colon].lowercased()] = String(value)
        }
    }

    /// How many bytes the body has, where the head says it.
    func length() throws -> Int {
        guard let length = self.headers["content-length"].flatMap({ Int($0) }), length >= 0 else {
            throw Unexpected("an answer without a length: \(self.headers)")
        }
        return length
    }
}
