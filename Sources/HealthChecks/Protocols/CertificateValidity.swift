/// How long a certificate is valid; seconds since 1970.
struct CertificateValidity: Hashable {
    var from: Int
    var until: Int

    func judge(now: Int, atLeast minimum: Duration) -> Outcome {
        if now < from { return .failed("certificate is not valid before \(Self.text(from - now)) from now") }
        if now > until { return .failed("certificate expired \(Self.text(now - until)) ago") }
        guard until - now >= Int(minimum.components.seconds) else {
            return .failed(
                "certificate expires in \(Self.text(until - now)), "
                    + "expected \(Self.text(Int(minimum.components.seconds))) at least")
        }
        return .passed
    }

    private static func text(_ seconds: Int) -> String {
        let (count, unit) =
            switch seconds {
            case 172_800...: (seconds / 86_400, "day")
            case 7_200...: (seconds / 3_600, "hour")
            case 120...: (seconds / 60, "minute")
            default: (seconds, "second")
            }
        return "\(count) \(unit)\(count == 1 ? "" : "s")"
    }
}
