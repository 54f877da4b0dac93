// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Requests, as bytes.
enum Request {
    static let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    static func get(_ path: String, _ headers: String...) -> String {
        "GET \(path) HTTP/1.1\r\nHost: a\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    static func post(_ body: String, _ headers: String...) -> String {
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n"
            + headers.map { $0 + "\r\n" }.joined() + "\r\n" + body
    }

    static func post(chunks: [String], trailers: String...) -> String {
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks.map { String($0.utf8.count, radix: 16) + "\r\n" + $0 + "\r\n" }.joined()
            + "0\r\n" + trailers.map { $0 + "\r\n" }.joined() + "\r\n"
    }
}

extension String {
    /// At a byte, which must not stand within a character.
    func cut(at position: Int) -> (String, String) {
        let bytes = Array(self.utf8)
        return (
            String(decoding: bytes[..<position], as: UTF8.self), String(decoding: bytes[position...], as: UTF8.self)
        )
    }
}
