-- What courts sit in Marlow?
SELECT crt_nm FROM Crt WHERE cty = 'Marlow';
-- Judges who have retired, with the year they left.
SELECT j_nm, ret_yr FROM jdg WHERE ret_yr IS NOT NULL;
-- Longest-serving judge still on the bench?
SELECT j_nm FROM jdg WHERE ret_yr IS NULL ORDER BY appt_yr LIMIT 1;
-- How many years lie between appointment and retirement, averaged over the judges who have retired?
SELECT avg(ret_yr - appt_yr) FROM jdg WHERE ret_yr IS NOT NULL;
-- Which judges have no case at all?
SELECT j.j_nm FROM jdg AS j LEFT JOIN cs AS c ON c.j_id = j.j_id WHERE c.CaseNo IS NULL;
-- Backlog: undecided cases per court, by the court's name.
SELECT r.crt_nm, count(*) FROM cs AS c JOIN Crt AS r ON r.crt_cd = c.crt_cd WHERE c.dt_disp IS NULL GROUP BY r.crt_cd;
-- Civil cases (CIV) claiming over a quarter of a million: which case numbers?
SELECT CaseNo FROM cs WHERE typ = 'CIV' AND clm_amt > 250000;
-- Civil filings (CIV) year after year: how many?
SELECT strftime('%Y', dt_filed), count(*) FROM cs WHERE typ = 'CIV' GROUP BY strftime('%Y', dt_filed);
-- Days from filing to disposal, mean per case type, one decimal.
SELECT typ, round(avg(julianday(dt_disp) - julianday(dt_filed)), 1) FROM cs WHERE dt_disp IS NOT NULL GROUP BY typ;
-- The case that dragged on longest before it was decided. Its number and the days it took.
SELECT CaseNo, julianday(dt_disp) - julianday(dt_filed) FROM cs WHERE dt_disp IS NOT NULL ORDER BY julianday(dt_disp) - julianday(dt_filed) DESC LIMIT 1;
-- Conviction rate in criminal cases that have an outcome: percent, one decimal.
SELECT round(100.0 * sum(outc = 'CONVICTED') / count(*), 1) FROM cs WHERE typ = 'CRM' AND outc IS NOT NULL;
-- Which appeals reversed the earlier ruling? I want the appeal's number and the number of the case it came from.
SELECT CaseNo, appl_of FROM cs WHERE outc = 'REVERSED';
-- Judges whose decisions were appealed, each once. Mind that it is the judge of the original case I'm after.
SELECT DISTINCT j.j_nm FROM cs AS a JOIN cs AS o ON o.CaseNo = a.appl_of JOIN jdg AS j ON j.j_id = o.j_id;
-- Outcomes in family matters and how common each is; pending ones don't count.
SELECT outc, count(*) FROM cs WHERE typ = 'FAM' AND outc IS NOT NULL GROUP BY outc;
-- Sum claimed in civil cases that ended in a settlement (SETTLED).
SELECT sum(clm_amt) FROM cs WHERE typ = 'CIV' AND outc = 'SETTLED';
-- For CIV cases with no amount stated, the numbers please.
SELECT CaseNo FROM cs WHERE typ = 'CIV' AND clm_amt IS NULL;
-- Claims above the average claim of the court they were brought in. How many are there?
SELECT count(*) FROM cs AS a WHERE a.clm_amt > (SELECT avg(b.clm_amt) FROM cs AS b WHERE b.crt_cd = a.crt_cd);
-- Attorneys called to the bar in the nineties (1990 to 1999).
SELECT atty_nm FROM atty WHERE bar_yr BETWEEN 1990 AND 1999;
-- No firm on record, blank or N/A, who is that?
SELECT atty_nm FROM atty WHERE frm IS NULL OR frm = 'N/A';
-- Thinking of family cases (FAM) only, which attorneys have acted for a P side and, there or in another such case, for a D side?
SELECT atty_nm FROM atty WHERE atty_id IN (SELECT p.atty_id FROM prty AS p JOIN cs AS c ON c.CaseNo = p.CaseNo WHERE c.typ = 'FAM' AND p.side = 'P') AND atty_id IN (SELECT p.atty_id FROM prty AS p JOIN cs AS c ON c.CaseNo = p.CaseNo WHERE c.typ = 'FAM' AND p.side = 'D');
-- Name the attorney representing the most parties.
SELECT a.atty_nm FROM prty AS p JOIN atty AS a ON a.atty_id = p.atty_id GROUP BY a.atty_id ORDER BY count(*) DESC LIMIT 1;
-- Attorneys we never see in court: no party has engaged them.
SELECT atty_nm FROM atty EXCEPT SELECT a.atty_nm FROM atty AS a JOIN prty AS p ON p.atty_id = a.atty_id;
-- Unrepresented defendants in civil cases, how many?
SELECT count(*) FROM prty AS p JOIN cs AS c ON c.CaseNo = p.CaseNo WHERE p.side = 'D' AND p.atty_id IS NULL AND c.typ = 'CIV';
-- Same attorney, opposite sides of one case: that would be a conflict. Which case numbers show it?
SELECT DISTINCT a.CaseNo FROM prty AS a JOIN prty AS b ON b.CaseNo = a.CaseNo AND b.atty_id = a.atty_id WHERE a.side = 'P' AND b.side = 'D';
-- Cases with more than three parties. Number of parties beside each.
SELECT CaseNo, count(*) FROM prty GROUP BY CaseNo HAVING count(*) > 3;
-- Who has been sued more often than once? Party names on the D side, leaving the criminal cases (CRM) out.
SELECT p.pty_nm FROM prty AS p JOIN cs AS c ON c.CaseNo = p.CaseNo WHERE p.side = 'D' AND c.typ <> 'CRM' GROUP BY p.pty_nm HAVING count(*) > 1;
-- How many hours of trial (kind 'trial') did each room see? One decimal.
SELECT rm, round(sum("len min") / 60.0, 1) FROM hrg WHERE knd = 'trial' GROUP BY rm;
-- Percentage of hearings adjourned, by kind of hearing, rounded to whole percent.
SELECT knd, round(100.0 * sum(adjd) / count(*)) FROM hrg GROUP BY knd;
-- Afternoon hearings (from 13:00 on) in the Annex, how many?
SELECT count(*) FROM hrg WHERE rm = 'Annex' AND tm >= '13:00';
-- Was a room ever booked more than once in a day? Room and date.
SELECT rm, dt FROM hrg GROUP BY rm, dt HAVING count(*) > 1;
-- Cases decided without any hearing whatsoever: list their numbers.
SELECT c.CaseNo FROM cs AS c WHERE c.dt_disp IS NOT NULL AND NOT EXISTS (SELECT 1 FROM hrg AS h WHERE h.CaseNo = c.CaseNo);
-- When did each appeal (APP) that got a hearing have its first one? Case number and date.
SELECT c.CaseNo, min(h.dt) FROM cs AS c JOIN hrg AS h ON h.CaseNo = c.CaseNo WHERE c.typ = 'APP' GROUP BY c.CaseNo;
-- Minutes Judge Delphine Marsh spent in hearings of her cases.
SELECT sum(h."len min") FROM hrg AS h JOIN cs AS c ON c.CaseNo = h.CaseNo JOIN jdg AS j ON j.j_id = c.j_id WHERE j.j_nm = 'Delphine Marsh';
-- Fees taken in 2022: the number of receipts, the total, and the largest.
SELECT count(*), sum(amt), max(amt) FROM FeePd WHERE dt_pd LIKE '2022-%';
-- Civil and family cases for which nothing was ever paid in. Just count them.
SELECT count(*) FROM cs AS c LEFT JOIN FeePd AS f ON f.case_ref = c.CaseNo WHERE c.typ IN ('CIV', 'FAM') AND f.rcpt IS NULL;
-- How much was paid in fees by each way of payment? The spelling varies, so fold everything to lower case.
SELECT lower(how), sum(amt) FROM FeePd GROUP BY lower(how);
-- Three cases with the highest fees in total: number and sum, highest first.
SELECT case_ref, sum(amt) FROM FeePd GROUP BY case_ref ORDER BY sum(amt) DESC LIMIT 3;
-- Show all people and firms found among the plaintiffs as well as among the defendants, leaving criminal cases (CRM) aside.
SELECT p.pty_nm FROM prty AS p JOIN cs AS c ON c.CaseNo = p.CaseNo WHERE c.typ <> 'CRM' AND p.side = 'P' INTERSECT SELECT p.pty_nm FROM prty AS p JOIN cs AS c ON c.CaseNo = p.CaseNo WHERE c.typ <> 'CRM' AND p.side = 'D';
